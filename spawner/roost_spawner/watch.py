"""One watcher per cluster: one query serves every session.

Its cost does not grow with sessions.  The spawner's ``poll`` reads what is noted here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from roost_spawner.errors import ClusterError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

    from roost_spawner.clusters.base import Cluster, JobView
    from roost_spawner.sessions import Registry, Session

_MAX_PAUSE = 30.0


class Watcher:
    """Asks one cluster for the jobs of this hub, for as long as there are any.

    Parameters
    ----------
    name
        The cluster's name in the site file.
    cluster
        Returns the cluster as it is now; a reload of the site file may replace it.
    registry
        Where the sessions are.
    log
        The hub's log.
    fast, slow
        Seconds between queries while something starts or stops, and otherwise.
    """

    def __init__(
        self,
        name: str,
        cluster: Callable[[], Cluster],
        registry: Registry,
        log: logging.Logger,
        *,
        fast: float = 2.0,
        slow: float = 15.0,
    ) -> None:
        self.name = name
        self.queries = 0
        self._cluster = cluster
        self._registry = registry
        self._log = log
        self._fast, self._slow = fast, slow
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    def follow(self) -> None:
        """Watch, if there is a session to watch; look soon, if it already does."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"roost-watch-{self.name}")
        self._wake.set()

    async def close(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while self._registry.on(self.name):
            self._wake.clear()
            try:
                await self.look()
            except Exception:
                self._log.exception("The watcher of cluster %s stumbled", self.name)
                self._failures += 1
            # Never more often than `fast`, however often somebody asks to look soon.
            await asyncio.sleep(self._pause(self._fast))
            rest = self._pause(self._slow) - self._pause(self._fast)
            if rest > 0 and not self._moving():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), rest)

    def _pause(self, usual: float) -> float:
        return float(min(usual * 2 ** min(self._failures, 6), max(usual, _MAX_PAUSE)))

    def _moving(self) -> bool:
        return any(
            not session.record.ready or session.record.over or session.misses
            for session in self._registry.on(self.name)
        )

    async def look(self) -> None:
        """Ask once, and tell every session."""
        asked_at = time.monotonic()
        self.queries += 1
        try:
            views = await self._cluster().watch()
        except ClusterError as error:
            self._failures += 1
            if self._failures == 1:
                self._log.warning("Cluster %s does not answer: %s", self.name, error)
            for session in self._registry.on(self.name):
                session.unreachable(f"{error.sentence} Your session is kept.")
            return
        if self._failures:
            self._log.info("Cluster %s answers again", self.name)
        self._failures = 0
        marks: dict[str, list[JobView]] = {}
        for view in views.values():
            marks.setdefault(view.mark or "", []).append(view)
        for session in self._registry.on(self.name):
            self._tell(session, views, marks, asked_at)

    def _tell(
        self,
        session: Session,
        views: Mapping[str, JobView],
        marks: Mapping[str, list[JobView]],
        asked_at: float,
    ) -> None:
        record = session.record
        view = views.get(record.job_id) if record.job_id else None
        if view is None:
            # A hub that died between submit and commit finds its job by the mark.
            found = [view for view in marks.get(record.mark, []) if record.rightful(view)]
            view = found[0] if found and not record.job_id else None
        if view is not None:
            session.observe(view, asked_at)
        else:
            session.missed(asked_at)
