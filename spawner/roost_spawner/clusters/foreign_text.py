"""Texts that others have written, as they may stand in a line of a page or a log.  Pure."""

from __future__ import annotations


def on_one_line(text: str, longest: int) -> str:
    """Return at most `longest` characters of a text, each that is not printable as a blank."""
    kept = text[:longest]
    return kept if kept.isprintable() else "".join(c if c.isprintable() else " " for c in kept)
