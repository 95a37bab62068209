"""The root of every package's tree of errors."""

from __future__ import annotations


class TellingError(Exception):
    """Tells the user one plain sentence, and the log what an admin wants to read.

    Parameters
    ----------
    sentence
        What happened and what to do.
    detail
        For the log.  Neither ever holds a token.
    """

    retryable = False

    def __init__(self, sentence: str, *, detail: str = "") -> None:
        super().__init__(f"{sentence} [{detail}]" if detail else sentence)
        self.sentence = sentence
        self.detail = detail
