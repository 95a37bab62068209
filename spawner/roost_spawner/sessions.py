"""The life of one session: who acts for it, who waits for it, and how its record changes.

No I/O: the spawner keeps records in the hub's database and acts on the scheduler; this module says
what to keep, and :mod:`roost_spawner.record` how to judge.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from roost_spawner import bookkeeping, notices
from roost_spawner.clusters.base import Cause, JobState, JobView
from roost_spawner.record import Place, Record, SessionState, judge, stamped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from roost_spawner.delivery import Handout, Standing
    from roost_spawner.starts import GivenUp

# A listing may show a job as it was a moment before its agent called us.
_LISTING_LAG = 10.0
MOST_NEWS = 200
"""Sentences about one start that are kept; the oldest go first."""
_GONE_AFTER = 2
"""Listings without the job after which it is gone."""
_SAYS_LESS = frozenset({None, Cause.FAILED, Cause.FINISHED, Cause.REMOVED, Cause.UNKNOWN})
"""What a scheduler says of a job whose agent saw the server fail: an exit status, or our cancel."""
_KNOWN_BETTER = frozenset({Cause.FAILED, Cause.WALLTIME})
_OVERSTAYED = "The notebook's time was up. The batch system had not ended it; the hub has."


class Host(Protocol):
    """Who acts for a session: its spawner."""

    def keep(self) -> None:
        """Commit the records."""
        ...

    def session_over(self, session: Session) -> None:
        """Act on a session that is over: tell the hub, and see its job off."""
        ...

    @property
    def agent_folder(self) -> str:
        """Where the agents are kept that jobs have pinned."""
        ...

    async def view(self, session: Session) -> JobView | None:
        """Return the session's job as it is from now on; None if the scheduler has it not."""
        ...

    def follow(self, session: Session) -> None:
        """Have the scheduler asked about the session soon."""
        ...

    async def bundle(self, session: Session) -> dict[str, Any]:
        """Return what the agent needs to start the server."""
        ...

    async def tokens(self, session: Session) -> Handout:
        """Return fresh access tokens, and how they stand."""
        ...


# What changes with each look at the scheduler and is not worth a commit.
_VOLATILE = frozenset({"state", "why", "cause", "node", "slot", "ends_at", "walltime_s"})


class Session:
    """A record, who acts for it, and who waits for it to change.

    Parameters
    ----------
    record
        What is kept.
    place
        Whose server it is.
    host
        The spawner.
    """

    def __init__(self, record: Record, place: Place, host: Host) -> None:
        self.record = record
        self.place = place
        self.host = host
        self.news: list[tuple[int, str]] = []
        """Progress in percent and words, each said once, for the pending page."""
        self.notices: list[notices.Notice] = []
        """What the people in it are warned of."""
        self._warned: frozenset[int] = frozenset()
        self.reachable = True
        self.misses = 0
        self.submitted_at = 0.0
        """When the submit was answered; infinite while it runs: no listing is newer than that."""
        self.started_at = 0.0
        self.stopping = False
        """The user or the hub wants it to end: the agent's next call is answered 410."""
        self.given_up: GivenUp | None = None
        """Why it is the hub that ends it, if it does."""
        self.log_tail = ""
        """The server's last lines, if it failed; never kept."""
        self.agent_version = 2
        """Of the agent that asked for the bundle, as it says."""
        self.explain_after = 0.0
        self._seen: tuple[JobView | None, Record | None] = (None, None)
        """The last view that was judged, and what it made of the record."""
        self.tokens: dict[str, Standing] = {}
        """How its access tokens stood when its agent last asked for them."""
        self.delivered: dict[str, float] = {}
        """When those end that it was given, by name."""
        self.memory_used: tuple[int, float] | None = None
        """MiB, and when its agent said so, in seconds since the epoch."""
        self.failed_on = ""
        """A node that could not start its job."""
        self.submission: asyncio.Task[None] | None = None
        self.farewell: asyncio.Task[None] | None = None
        self.notice: asyncio.Future[Any] | None = None
        self.changes = 0
        """How often it has changed since the hub has it."""
        self._waiters: set[asyncio.Future[None]] = set()

    def update(self, **changes: Any) -> None:
        """Change the record, keep what must be kept, wake who waits."""
        old = self.record
        self.record = stamped(replace(old, **changes), time.time())
        if self.record == old:
            return
        if any(getattr(old, name) != changes[name] for name in changes.keys() - _VOLATILE):
            self.host.keep()
        bookkeeping.note(old, self.record, self.given_up)
        self.wake()
        if self.record.over and not old.over:
            self.host.session_over(self)

    def say(self, percent: int, message: str) -> bool:
        """Tell the user something, once; whether it is news."""
        if any(message == said for _, said in self.news):
            return False
        # Progress never runs backwards, whatever order things are noticed in.
        percent = max([percent, *(done for done, _ in self.news)])
        self.news = [*self.news, (percent, message)][-MOST_NEWS:]
        self.wake()
        return True

    def warn(self, notice: notices.Notice) -> None:
        """Warn the people in the session, once with the same words."""
        kept = notices.with_one_more(self.notices, notice)
        if kept != self.notices:
            self.notices = kept
            self.wake()

    def wake(self) -> None:
        """Wake who waits for a change."""
        self.changes += 1
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self, limit: float | None = None) -> None:
        """Wait for the next change, at most `limit` seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=limit)
        finally:
            self._waiters.discard(waiter)

    async def until(self, condition: Callable[[Record], bool], limit: float | None = None) -> bool:
        """Wait until the record meets a condition; whether it does in time."""
        deadline = None if limit is None else time.monotonic() + limit
        while not condition(self.record):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            await self.changed(left)
        return True

    def observe(self, view: JobView, asked_at: float) -> None:
        """Take note of how the scheduler shows the job.

        Parameters
        ----------
        view
            The job.
        asked_at
            When the query began (``time.monotonic``): an older picture overrules nothing newer.
        """
        self.reached()
        self.misses = 0
        record = self.record
        # Nearly all of a thousand sessions have no news: nothing is judged twice.
        seen, judged = self._seen
        if record.ended or (judged is record and seen == view):
            return
        if record.state is SessionState.EVICTING and view.state is JobState.RUNNING:
            return  # the agent knows it before the scheduler shows it
        stale = asked_at < self.started_at + _LISTING_LAG
        if view.state is JobState.QUEUED and record.started and stale:
            return
        if not record.started and record.is_misnamed(view):
            why = (
                f"{record.cluster} runs your job as {view.owner}, and here you are "
                f"{record.account}: the map files of hub and cluster must name the same account."
            )
            self.update(job_id=view.job_id, over=True, why=why, cause=str(Cause.FAILED))
            return
        verdict = judge(record, view)
        if record.over and record.cause in _KNOWN_BETTER and verdict.cause in _SAYS_LESS:
            verdict = replace(verdict, why="", cause=None)
        why = verdict.why
        if not why and verdict.over:
            # The agent may have said it better than the scheduler.
            why = record.why if record.over else "The job has ended."
        runs = view.state in {JobState.STARTING, JobState.RUNNING}
        self.update(
            job_id=view.job_id,
            state=verdict.state,
            why=why if why or not record.over else record.why,
            cause=verdict.cause or record.cause,
            over=record.over or verdict.over,
            node=record.node
            if record.placed
            else ""
            if view.failed_on
            else view.node or record.node,
            slot=record.slot if record.placed else view.slot or record.slot,
            ends_at=view.ends_at or record.ends_at,
            walltime_s=view.walltime_s or record.walltime_s,
        )
        self._seen = (view, self.record)
        if view.failed_on != self.failed_on and not self.record.started:
            self.failed_on = view.failed_on
            self.wake()
        if why and not record.ready:
            self.say(20, why)
        if runs and not record.ready and view.node:
            node, slot = view.node.partition(".")[0], (view.slot or "").partition("@")[0]
            self.say(45, f"Your job runs on {node}{f', {slot}' if slot else ''}.")

    def missed(self, asked_at: float) -> bool:
        """Take note that a successful listing did not show the job; whether it is gone.

        One listing may have been made before the job was in it; two say that there is none.
        """
        self.reached()
        if asked_at < self.submitted_at or self.record.ended:
            return False
        self.misses += 1
        return self.misses >= _GONE_AFTER

    def reached(self) -> None:
        """Take note that the scheduler answers."""
        if not self.reachable:
            self.reachable = True
            if not self.record.ready:
                self.say(0, f"{self.record.cluster} answers again.")
            self.wake()

    def unreachable(self, sentence: str) -> None:
        """Take note that the scheduler does not answer.  Unknown is not dead."""
        if self.reachable and not self.record.ended:
            self.reachable = False
            if not self.record.ready:
                self.say(0, sentence)
            self.wake()

    def remind(self, at: float) -> None:
        """Announce the end of the walltime when it is due, and end what has long passed it.

        `at`: now, in seconds since the epoch.
        """
        if not self.record.ready or self.record.over:
            return
        if self.record.overstayed(at):
            self.update(over=True, why=_OVERSTAYED, cause=str(Cause.WALLTIME))
            return
        if due := notices.walltime(self.record.ends_at, self._warned, at):
            mark, notice = due
            self._warned |= {mark}
            self.warn(notice)

    def event(
        self, kind: str, reason: str, log_tail: str, *, seconds_left: int | None = None
    ) -> None:
        """Take note of what the agent says happens to its server."""
        if kind == "evicting":
            now = time.time()
            notice = notices.ending(seconds_left, self.record.ends_at, now)
            self.warn(notice)
            up = notices.time_is_up(self.record.ends_at, now)
            cause = Cause.WALLTIME if up else Cause.EVICTED
            self.update(state=SessionState.EVICTING, why=notice.message, cause=str(cause))
            self.host.follow(self)  # the scheduler may know it better
            return
        why = f"Your session's {reason.removeprefix('the ')}."
        self.log_tail = log_tail
        known = ""
        if kind == "ended":
            known = self.record.why
            if any(known == notice.message for notice in self.notices):
                # Who wanted it, and why, is the scheduler's to say; here it has not yet.
                known = "The batch system has ended your session."
        cause = Cause.FINISHED if kind == "ended" else Cause.FAILED
        self.update(over=True, why=known or why, cause=self.record.cause or str(cause))

    def end(self, why: str, cause: Cause | None = None) -> None:
        """Take note that the scheduler confirmed: there is no job."""
        self.update(
            state=SessionState.ENDED,
            over=True,
            why=self.record.why if self.record.over and self.record.why else why,
            cause=self.record.cause or (cause or ""),
        )


class Registry:
    """Every session of this hub process that is not over and done with, by id."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def add(self, session: Session) -> None:
        """Take a session in."""
        self._sessions[session.record.id] = session

    def get(self, session_id: str) -> Session | None:
        """Return a session by id."""
        return self._sessions.get(session_id)

    def discard(self, session: Session) -> None:
        """Forget a session.  Its job's end has been confirmed."""
        self._sessions.pop(session.record.id, None)

    def at(self, place: Place) -> list[Session]:
        """Return the sessions of one named server: its own, and any whose job is still leaving."""
        return [session for session in self._sessions.values() if session.place == place]

    def on(self, cluster: str) -> list[Session]:
        """Return the sessions whose jobs a cluster has or may have."""
        return [
            session
            for session in self._sessions.values()
            if session.record.cluster == cluster
            and session.record.submitting
            and not session.record.ended
        ]


registry = Registry()
"""The hub process's own."""
