"""How often a scheduler may be asked: at once now and then, and no more than so often for long.

One person who starts a notebook does not wait for the next listing.  A hundred who start at once
are served by listings, which cost the scheduler the same for ten jobs as for ten thousand.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BURST = 10
"""Questions that may follow each other at once."""


class Budget:
    """A token bucket.

    Parameters
    ----------
    every
        Returns the seconds in which one question more may be asked.
    clock
        Returns seconds.
    """

    def __init__(
        self, every: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every = every
        self._clock = clock
        self.asked = 0
        """Questions that were asked."""
        self._left = float(BURST)
        self._at = clock()

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(BURST, self._left + (now - self._at) / max(self._every(), 0.001))
        self._at = now

    @property
    def low(self) -> bool:
        """Whether much has been asked lately."""
        self._refill()
        return self._left < BURST / 2

    def take(self, questions: int = 1) -> bool:
        """Take as many questions, if they are left."""
        self._refill()
        if self._left < questions:
            return False
        self._left -= questions
        self.asked += questions
        return True

    def spend(self) -> None:
        """Note a question that was asked in any case."""
        self._refill()
        self._left = max(self._left - 1, -1)
        self.asked += 1
