"""Batch systems, one family per folder, behind the protocol in ``base``."""
