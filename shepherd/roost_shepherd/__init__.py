"""Custody and renewal of tokens.  Knows OAuth and storage, and nothing of JupyterHub."""
