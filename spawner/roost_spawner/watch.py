"""One watcher per cluster: one query serves every session.

Its cost does not grow with sessions.  The spawner's ``poll`` reads what is noted here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from roost_spawner.budget import Budget
from roost_spawner.errors import ClusterError
from roost_spawner.record import SessionState

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from roost_spawner.clusters.base import Cluster, JobView
    from roost_spawner.reaper import Reaper
    from roost_spawner.sessions import Registry, Session

_MAX_PAUSE = 30.0
_SLICE = 200
"""Sessions that are told of a listing before others get the event loop."""
_COMMITS = 5
"""Likewise of those that a listing lets go on, each of which writes to the database."""
_THRIFT = 1.6
"""How much longer the pauses are while much is asked."""
_RATE = 1.25
"""Pauses for each question of the budget: 24 a minute with pauses of 2 s, and the burst."""


class Watcher:
    """Asks one cluster for the jobs of this hub.

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
    pauses
        Returns the seconds between queries while something starts or stops, and otherwise.
    reaper
        Is shown what is left over.
    """

    def __init__(
        self,
        name: str,
        cluster: Callable[[], Cluster],
        registry: Registry,
        log: logging.Logger,
        *,
        pauses: Callable[[], tuple[float, float]] = lambda: (2.0, 15.0),
        reaper: Reaper | None = None,
    ) -> None:
        self.name = name
        self.queries = 0
        """Questions that the watcher itself asked since the hub began."""
        self.away_since: float | None = None
        """Since when the cluster has not answered, in seconds since the epoch; None if it does."""
        self.answered_at: float | None = None
        """When it last did, likewise."""
        self.problem = ""
        """Why it does not answer, a sentence."""
        self.budget = Budget(lambda: pauses()[0] * _RATE)
        self._cluster = cluster
        self._registry = registry
        self._log = log
        self._pauses = pauses
        self.reaper = reaper
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._fates: dict[str, asyncio.Task[None]] = {}
        self._failures = 0
        self._listing_for: list[asyncio.Future[Mapping[str, JobView]]] = []

    def follow(self) -> None:
        """Watch; look soon, if it already does."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"roost-watch-{self.name}")
        self._wake.set()

    async def close(self) -> None:
        """Stop watching."""
        for future in self._listing_for:
            future.cancel()
        tasks = [task for task in (self._task, *self._fates.values()) if task is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while self._registry.on(self.name) or self._listing_for or self.reaper is not None:
            self._wake.clear()
            try:
                await self.look()
            except Exception:
                self._log.exception("The watcher of cluster %s stumbled", self.name)
                self._failures += 1
            # Never more often than `fast`, however often somebody asks to look soon.
            fast, slow = (self._longer(pause) for pause in self._pauses())
            if self.budget.low:
                fast = min(fast * _THRIFT, slow)
            await asyncio.sleep(fast)
            if slow > fast and not self._moving():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), slow - fast)

    def _longer(self, usual: float) -> float:
        return float(min(usual * 2 ** min(self._failures, 6), max(usual, _MAX_PAUSE)))

    def _moving(self) -> bool:
        return any(
            not session.record.ready
            or session.record.over
            or session.misses
            or session.record.state is SessionState.EVICTING
            for session in self._registry.on(self.name)
        )

    async def view(self, job_id: str) -> JobView | None:
        """Return a job as it is from now on; None if the scheduler has no such job.

        It is asked for by itself as long as the budget lasts, and comes with the next listing else.

        Raises
        ------
        ClusterError
            If the scheduler does not answer.
        """
        if self.budget.take():
            self.queries += 1
            return await self._cluster().look(job_id)
        waiting: asyncio.Future[Mapping[str, JobView]] = asyncio.get_running_loop().create_future()
        self._listing_for.append(waiting)
        self.follow()
        return (await waiting).get(job_id)

    async def explain(self, job_id: str) -> Sequence[str]:
        """Return why a job does not start, as far as the budget lets the scheduler be asked.

        Raises
        ------
        ClusterError
            If the scheduler does not answer.
        """
        return await self._cluster().explain(job_id, may_ask=self.budget.take)

    async def look(self) -> None:
        """Ask once, and tell every session."""
        asked_at = time.monotonic()
        self.queries += 1
        self.budget.spend()
        try:
            views = await self._listing()
        except ClusterError as error:
            self._failures += 1
            self.problem = error.sentence
            if self.away_since is None:
                self.away_since = time.time()
                self._log.warning("Cluster %s does not answer: %s", self.name, error)
            for session in self._registry.on(self.name):
                session.unreachable(f"{error.sentence} Your session is kept.")
            return
        if self._failures:
            self._log.info("Cluster %s answers again", self.name)
        self._failures = 0
        now = time.time()
        self.away_since, self.answered_at, self.problem = None, now, ""
        for number, session in enumerate(self._registry.on(self.name), 1):
            view = _job_of(session, views, asked_at)
            if view is not None:
                session.observe(view, asked_at)
            elif session.missed(asked_at):
                self._find_out(session)
            session.remind(now)
            if not number % _SLICE:
                await asyncio.sleep(0)
        if self.reaper is not None:
            self.reaper.show(views)

    async def _listing(self) -> Mapping[str, JobView]:
        """Ask, also for those who wait for what this listing says of one job."""
        waiting, self._listing_for = self._listing_for, []
        try:
            views = await self._cluster().watch()
        except BaseException as error:
            for future in waiting:
                if not future.done():  # somebody still waits for it
                    future.set_exception(error)
            raise
        for number, future in enumerate(waiting, 1):
            if not future.done():
                future.set_result(views)
            if not number % _COMMITS:
                await asyncio.sleep(0)
        return views

    def _find_out(self, session: Session) -> None:
        """Ask the scheduler's records, once, how a job ended that the queue shows no more."""
        key = session.record.id
        if key not in self._fates:
            self._fates[key] = asyncio.create_task(self._fate(session))
            self._fates[key].add_done_callback(lambda _: self._fates.pop(key, None))

    async def _fate(self, session: Session) -> None:
        if session.record.job_id:
            await find_out(session, self._cluster(), self._log)
        session.end("The batch system no longer knows the job: it has ended or was removed.")


async def find_out(session: Session, cluster: Cluster, log: logging.Logger) -> None:
    """Ask the scheduler's records how a job ended that the queue shows no more, and note it."""
    job_id = session.record.job_id
    try:
        view = await cluster.fate(job_id)
    except ClusterError as error:
        log.info("How job %s ended is not known: %s", job_id, error)
        return
    if view is not None and not view.state.alive and session.record.rightful(view):
        session.observe(view, time.monotonic())


def _job_of(session: Session, views: Mapping[str, JobView], asked_at: float) -> JobView | None:
    record = session.record
    if record.job_id:
        return views.get(record.job_id)
    if asked_at < session.submitted_at:
        return None  # its submit is under way
    # A hub that died between submit and commit finds its job by the mark.
    return next((view for view in views.values() if record.rightful(view)), None)
