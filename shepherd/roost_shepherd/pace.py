"""How often somebody may do something: a few times at once, and then at a steady rate."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from tornado import web

if TYPE_CHECKING:
    from collections.abc import Callable


class TooOften(web.HTTPError):
    """Somebody did something too often.

    Parameters
    ----------
    sentence
        For whoever it was.
    seconds
        After which they may do it again.
    """

    def __init__(self, sentence: str, seconds: int) -> None:
        super().__init__(429, f"{sentence} Please try again in {seconds} s.")
        self.headers = {"Retry-After": str(seconds)}  # JupyterHub sends them along


class Pace:
    """A token bucket for each caller.

    Parameters
    ----------
    at_once
        How many calls a caller who was silent may make at once.
    every
        Seconds after which one more is allowed.
    callers
        How many callers to keep in mind; beyond that the one longest silent is forgotten.
    clock
        Seconds that only grow.
    """

    def __init__(
        self,
        at_once: int,
        every: float,
        *,
        callers: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once = at_once
        self._every = every
        self._callers = callers
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, caller: str) -> int:
        """Count a call; return 0 if it is allowed, else the whole seconds to wait.

        A call that is not allowed does not count.
        """
        now = self._clock()
        full_at = max(self._full_at.get(caller, now), now) + self._every
        late = full_at - now - self._at_once * self._every
        if late > 0:
            return max(1, math.ceil(late))
        self._full_at[caller] = full_at
        self._full_at.move_to_end(caller)
        if len(self._full_at) > self._callers:
            self._full_at.popitem(last=False)
        return 0

    def keep(self, caller: str, sentence: str) -> None:
        """Count a call; raise :class:`TooOften` with a sentence if it is not allowed."""
        if seconds := self.wait(caller):
            raise TooOften(sentence, seconds)

    def forget(self) -> None:
        """Begin anew with every caller."""
        self._full_at.clear()
