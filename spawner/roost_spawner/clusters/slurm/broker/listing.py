"""One look at Slurm's jobs for all who ask within a moment, and what is new in it for each hub."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

Rows = list[dict[str, Any]]

FRESH_FOR = 1.0
"""Seconds for which one listing serves everybody."""


class Listing:
    """Slurm's jobs, or nodes, as they were a moment ago, fetched once however many ask.

    Parameters
    ----------
    fetch
        Asks Slurm.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Rows]]) -> None:
        self._fetch = fetch
        self._asked_at = float("-inf")
        self._task: asyncio.Future[Rows] | None = None
        self._last: tuple[float, Rows] = (float("-inf"), [])

    async def rows(self) -> Rows:
        """Return all rows, at most :data:`FRESH_FOR` seconds old or still being asked for."""
        task = self._task
        aged = time.monotonic() > self._asked_at + FRESH_FOR
        if task is None or (task.done() and (aged or task.exception() is not None)):
            self._asked_at = time.monotonic()
            task = self._task = asyncio.ensure_future(self._ask(self._asked_at))
            task.add_done_callback(_seen)  # whoever asked may be gone
        return await asyncio.shield(task)

    async def _ask(self, asked_at: float) -> Rows:
        rows = await self._fetch()
        self._last = max(self._last, (asked_at, rows), key=lambda answer: answer[0])
        return rows

    async def recent(self, age: float) -> tuple[float, Rows]:
        """Return rows that are at most `age` seconds old, and when they were asked for.

        For what must not cost a query; the time is that of ``time.monotonic``.
        """
        if time.monotonic() > self._last[0] + age:
            await self.rows()
        return self._last

    def forget(self) -> None:
        """Ask anew next time: a job came, or was told to go."""
        self._task = None


def _seen(task: asyncio.Future[Rows]) -> None:
    if not task.cancelled():
        task.exception()


class News:
    """What each hub has been told, so that it is told only what has changed since."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, Mapping[str, dict[str, Any]]]] = {}

    def since(self, hub: str, known: str, jobs: Rows) -> dict[str, Any]:
        """Return what is new for a hub.

        Parameters
        ----------
        hub
            Its id.
        known
            The ``sequence`` of the answer that it has; all of it comes if that is not the last.
        jobs
            Its jobs now.

        Returns
        -------
        dict
            ``sequence``, ``whole``, ``jobs`` that are new or changed, and the ids that are
            ``gone``.
        """
        now = {job["job_id"]: job for job in jobs}
        sequence, before = self._told.get(hub, ("", {}))
        whole = not known or known != sequence
        following = secrets.token_hex(8)
        self._told[hub] = (following, now)
        return {
            "sequence": following,
            "whole": whole,
            "jobs": [job for key, job in now.items() if whole or before.get(key) != job],
            "gone": [] if whole else [key for key in before if key not in now],
        }
