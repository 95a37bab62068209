"""Submits that a listing of Slurm's jobs may not show yet, counted from before they are sent."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEPT = 120.0
"""Seconds after which any listing shows a job."""


@dataclass(slots=True, eq=False)
class Begun:
    """A submit; `over` is when it was answered, None while it is under way."""

    over: float | None = None


class Submits:
    """What each account submits.

    Parameters
    ----------
    clock
        That of the listings, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: dict[str, list[Begun]] = {}

    @contextlib.contextmanager
    def begin(self, account: str, *no_job: type[Exception]) -> Iterator[Begun]:
        """Count a submit while it is under way, and afterwards if its job may be there.

        Parameters
        ----------
        account
            Whose.
        *no_job
            The errors after which there is no job.
        """
        mine = Begun()
        self._begun.setdefault(account, []).append(mine)
        try:
            yield mine
        except no_job:
            self._keep(account, [other for other in self._begun[account] if other is not mine])
            raise
        finally:
            mine.over = self._clock()

    def before(self, account: str, mine: Begun, asked_at: float) -> int:
        """Count an account's submits before one that a listing asked for then may not show."""
        least = max(asked_at, self._clock() - _KEPT)
        left = [one for one in self._begun[account] if one.over is None or one.over >= least]
        self._keep(account, left)
        return left.index(mine)

    def _keep(self, account: str, left: list[Begun]) -> None:
        if left:
            self._begun[account] = left
        else:
            self._begun.pop(account, None)
