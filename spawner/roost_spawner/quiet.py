"""A log that a stranger cannot flood: one line of a kind in a while, and how many it stands for."""

from __future__ import annotations

import time
from collections import OrderedDict


class Quiet:
    """Decides whether a line of some kind is due.

    Parameters
    ----------
    every
        Seconds between two lines of one kind.
    kinds
        How many kinds to keep in mind; beyond that the oldest is forgotten.
    """

    def __init__(self, every: float = 60.0, kinds: int = 1000) -> None:
        self._every = every
        self._kinds = kinds
        self._seen: OrderedDict[tuple[str, ...], tuple[float, int]] = OrderedDict()

    def due(self, *kind: str) -> str | None:
        """Return what to append to the line, or None if it is not to be written.

        Parameters
        ----------
        *kind
            What makes two lines one: where, what, which session.  Nothing that a caller chooses
            freely, or each call would be a kind of its own.
        """
        now = time.monotonic()
        last, left_out = self._seen.get(kind, (-self._every, 0))
        if now < last + self._every:
            self._seen[kind] = (last, left_out + 1)
            return None
        self._seen[kind] = (now, 0)
        self._seen.move_to_end(kind)
        if len(self._seen) > self._kinds:
            self._seen.popitem(last=False)
        return f" ({left_out} more like the last one)" if left_out else ""
