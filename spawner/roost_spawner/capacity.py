"""What each cluster has free, asked for once however many look, and only while somebody looks."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost_spawner.errors import RoostError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from roost_spawner.clusters.base import Capacity, Cluster


@dataclass(frozen=True, slots=True)
class Sample:
    """What a cluster had at one moment, or why nobody knows."""

    at: float
    """When it was asked, in seconds since the epoch."""
    capacity: Capacity | None
    problem: str = ""
    """Why there is none, a sentence for the user."""


class CapacityCache:
    """The last answer of one cluster.

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
        self._sample: Sample | None = None
        self._asking: asyncio.Task[None] | None = None

    def glance(self) -> Sample | None:
        """Return what is known, never waiting; has it asked again if it is old."""
        old = self._sample is None or time.time() > self._sample.at + self._max_age()
        if old and self._asking is None and (self._sample is None or self._may_ask()):
            self._asking = asyncio.ensure_future(self._ask())
            self._asking.add_done_callback(self._asked)
        return self._sample

    async def look(self, patience: float) -> Sample | None:
        """Return what is known; waits up to `patience` seconds if it is nothing yet."""
        sample = self.glance()
        if sample is None and self._asking is not None:
            await asyncio.wait([self._asking], timeout=patience)
            sample = self._sample
        return sample

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _asked(self, _: asyncio.Task[None]) -> None:
        self._asking = None

    async def _ask(self) -> None:
        at = time.time()
        try:
            self._sample = Sample(at, await self._cluster().capacity())
        except RoostError as error:
            self._sample = Sample(at, None, error.sentence)
        except Exception:
            self._log.exception("The capacity of a cluster could not be read")
            self._sample = Sample(at, None, "What is free cannot be told at the moment.")
