"""What each cluster has free, asked for once however many look, and only while somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from roost_spawner.errors import RoostError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from roost_spawner.clusters.base import Capacity, Cluster


_KEPT = 600.0
"""Seconds for which the last answer of a cluster that answers no more is still told, with its age:
long enough for a restart, too short for anybody to plan by it."""
_ABANDONED = 3
"""Times its ``max_age`` after which a sample is of before anybody looked."""
_TICK = 0.01
"""Seconds by which a timer may be early."""
_PAGE = 15.0
"""Seconds within which a page that is open looks again (``spawn.html`` of ``roost_hub``)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a cluster had at one moment, or why nobody knows."""

    at: float
    """When it was asked, in seconds since the epoch."""
    capacity: Capacity | None
    """The last answer; None if there was none lately."""
    problem: str = ""
    """Why the cluster does not tell what it has now, a sentence for the user."""


def with_problem(sample: Sample | None, problem: str, now: float) -> Sample | None:
    """Return what is known of a cluster whose queue, which is asked elsewhere, may not answer.

    A pool's free slots are the collector's to tell; whether anything starts in them, the access
    point's.

    Parameters
    ----------
    sample
        What the cluster had; None if that is not known.
    problem
        Why its queue does not answer, a sentence; empty if it does.
    now
        Seconds since the epoch.
    """
    if not problem:
        return sample
    if sample is None:
        return Sample(now, None, problem)
    return replace(sample, problem=sample.problem or problem)


class CapacityCache:
    """The last answer of one cluster.

    What starts or ends meanwhile shows with the next one, within ``max_age``: no question is asked
    for its sake.

    Parameters
    ----------
    cluster
        Returns the cluster as it is now.
    max_age
        Returns the seconds after which somebody who looks has it asked again.
    may_ask
        Whether the scheduler's budget of questions has one left.
    log
        The hub's log.
    """

    def __init__(
        self,
        cluster: Callable[[], Cluster],
        *,
        max_age: Callable[[], float],
        may_ask: Callable[[], bool],
        log: logging.Logger,
    ) -> None:
        self._cluster = cluster
        self._max_age = max_age
        self._may_ask = may_ask
        self._log = log
        self._of: Cluster | None = None
        """Whose sample it is."""
        self._sample: Sample | None = None
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._next: asyncio.TimerHandle | None = None
        self._watched_until = float("-inf")

    def glance(self, age: float = 0.0) -> Sample | None:
        """Return what is known, never waiting; has it asked again if it is old.

        Parameters
        ----------
        age
            Seconds that it may be old for who looks, if that is more than ``max_age``.

        Raises
        ------
        SiteError
            If the site file never had this cluster.
        """
        if (cluster := self._cluster()) is not self._of:
            # The site file was changed: what another cluster had is not what this one has.
            self._of, self._sample, self._asked_at = cluster, None, float("-inf")
        old = time.monotonic() > self._asked_at + max(age, self._max_age())
        if self._asking is None and old and (self._may_ask() or self._sample is None):
            self._asking = asyncio.ensure_future(self._ask(cluster))
            self._asking.add_done_callback(self._asked)
        return self._sample

    async def look(self, patience: float) -> Sample | None:
        """Return what is known; waits up to `patience` seconds if that is nothing lately.

        From then on it is asked again whenever that is old, until nobody has looked for a while: so
        nobody sees older figures, and one who looks costs as much as many.
        """
        self._watched_until = time.monotonic() + max(_PAGE, 1.5 * self._max_age())
        sample = self.glance()
        if self._asking is not None and (sample is None or self._old(_ABANDONED)):
            await asyncio.wait([self._asking], timeout=patience)
        return self._sample

    async def close(self) -> None:
        """Ask no more."""
        self._watched_until = float("-inf")
        if self._next is not None:
            self._next.cancel()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _old(self, times: int = 1) -> bool:
        return time.monotonic() > self._asked_at + times * self._max_age()

    def _asked(self, _: asyncio.Task[None]) -> None:
        self._asking = None
        if self._watched:
            pause = self._max_age() + _TICK
            self._next = asyncio.get_running_loop().call_later(pause, self._again)

    @property
    def _watched(self) -> bool:
        return time.monotonic() < self._watched_until

    def _again(self) -> None:
        if self._watched:
            with contextlib.suppress(RoostError):  # the site file has changed: who looks is told
                self.glance()

    async def _ask(self, cluster: Cluster) -> None:
        at = time.time()
        try:
            sample = Sample(at, await cluster.capacity())
        except RoostError as error:
            sample = self._without(at, error.sentence)
        except Exception:
            self._log.exception("The capacity of cluster %s could not be read", cluster.name)
            sample = self._without(at, "What is free cannot be told at the moment.")
        if cluster is self._of:
            self._sample, self._asked_at = sample, time.monotonic()

    def _without(self, at: float, problem: str) -> Sample:
        last = self._sample
        if last is None or last.capacity is None or at > last.at + _KEPT:
            return Sample(at, None, problem)
        return Sample(last.at, last.capacity, problem)
