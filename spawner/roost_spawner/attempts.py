"""One start: an attempt that waits, and the next of ``overflow`` when it waits for too long.

At most one session is the server at any moment (``spawner.session``); only that one gets a bundle.
The next is submitted *before* the one that waits is given up, so that a user whom nobody else
takes keeps the place in the queue.  The switch itself is made without an ``await`` and with one
commit: whatever has started by then is kept, and what starts later is told that it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from roost_shepherd.errors import ShepherdError

from roost_spawner import launch
from roost_spawner.clusters.base import Cause
from roost_spawner.errors import ClusterError, NoJob, RoostError
from roost_spawner.metrics import OVERFLOWS
from roost_spawner.overflow import REACH, Plan, Step, full, patience_of, plan
from roost_spawner.proof import digest
from roost_spawner.sessions import Session, registry
from roost_spawner.site.units import show_duration
from roost_spawner.starts import GivenUp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from roost_spawner.record import Record
    from roost_spawner.spawner import RoostSpawner

_FIRST_LOOK = 0.3
"""Seconds that a start which could go elsewhere waits for what clusters have free."""
_LOOK_AGAIN = 5.0
"""Seconds after which a start that found everything full looks again."""
_NODES = 3
"""Nodes that may fail to start a job before its start is given up."""
_FRESH = 2
"""Times the age that capacity may have on a page, up to which a start goes by it."""


class Attempts:
    """The attempts of one start.

    Parameters
    ----------
    spawner
        The server's.
    """

    def __init__(self, spawner: RoostSpawner) -> None:
        self._spawner = spawner
        self._engine = spawner.engine
        self._rest: list[Step] = []
        """What is still to be tried, in order."""
        self._left_out: tuple[str, ...] = ()
        self._refused: tuple[ShepherdError | ClusterError, Session] | None = None
        """The first refusal: of what was chosen, rather than of what came after it."""
        self._avoid: list[str] = []
        """Nodes that could not start the job."""

    async def come_up(self) -> Session:
        """Return the session that is ready, or over without another to take its place.

        Raises
        ------
        StartFailed
            If no cluster has taken a job.
        """
        session = await self._go_on() or await self._begin()
        while True:
            while (why := await self._impatient(session)) is not None:
                session = await self._move(session, why)
            await self._taken(session)
            await session.until(_decided(session))
            if session.record.ready or session.record.over or session.stopping:
                return session
            session = await self._elsewhere(session)

    # -- the first -----------------------------------------------------------------------------

    def _plan(self) -> Plan:
        spawner = self._spawner
        site, options = self._engine.site, spawner.user_options
        return plan(site, spawner.groups(), options, spawner.defaults())

    async def _go_on(self) -> Session | None:
        """Take up the session that waits; None if there is none, or it never had a job."""
        session = self._spawner.take_waiting()
        if session is None:
            return None
        session.update(token_hash=digest(self._spawner.api_token))
        if not session.record.job_id:
            await session.until(lambda record: bool(record.job_id) or record.over)
        if not session.record.job_id:
            registry.discard(session)
            return None
        left = session.record.overflow
        with contextlib.suppress(RoostError):  # the site file may say something else by now
            self._rest = [step for step in self._plan().steps if left and step.name in left]
        self._note_rest(session)
        return session

    async def _begin(self) -> Session:
        """Submit the job of what was chosen, or of the first in turn that has room for it."""
        spawner = self._spawner
        spawner.choose(spawner.user_options)
        spawner.forget_end()
        found = self._plan()
        chosen, self._left_out = found.steps[0], found.left_out
        self._rest = list(found.steps)
        try:
            await spawner.shepherd.start()
            step = await self._with_room() if len(found.steps) > 1 else chosen
            self._rest.remove(step)
            session = await self._submit(step, chosen=chosen.name)
        except ShepherdError as error:
            spawner.refused(GivenUp.TOKEN, chosen.name)
            raise spawner.failure(error, "token", 503 if error.retryable else 403) from None
        except RoostError as error:
            spawner.refused(GivenUp.SITE, chosen.name)
            raise spawner.failure(error, "site", 503) from None
        if step is not chosen:
            why = self._full(chosen) or f"{chosen.selection.profile.title} is full."
            _carry(session, [(5, _instead(why, step))])
            OVERFLOWS.labels(chosen.name, step.name).inc()
        spawner.take(session)
        return session

    async def _with_room(self) -> Step:
        """Return the first that may start at once; the chosen one if none is known to."""
        names = {step.selection.profile.cluster for step in self._rest}
        await asyncio.gather(*(self._engine.capacity(name).look(_FIRST_LOOK) for name in names))
        return self._next() or self._rest[0]

    async def _submit(self, step: Step, *, chosen: str, standby: bool = False) -> Session:
        """Have a session's job submitted.

        Raises
        ------
        RoostError, ShepherdError
            If it cannot even be prepared.
        """
        spawner, selection = self._spawner, step.selection
        self._engine.warm(spawner.user.name, selection.profile.cluster)
        session, request = await launch.prepare(
            self._engine,
            selection,
            place=spawner.place,
            host=spawner,
            server_token=spawner.api_token,
            avoid=self._avoid,
        )
        if step.remark:
            session.say(5, step.remark)
        asked = chosen if chosen != step.name else ""
        session.update(asked_profile=asked, standby=standby, overflow=self._names())
        # A task of its own: a start that is cancelled must not lose the id of a job that is just
        # being submitted.
        session.submission = asyncio.create_task(
            launch.submit(
                self._engine,
                session,
                request,
                token=lambda: self._cluster_token(session),
                log=spawner.log,
            )
        )
        return session

    async def _cluster_token(self, session: Session) -> str:
        cluster = self._engine.cluster(session.record.cluster)
        token = await self._engine.cluster_token(session.record.account, cluster)
        return token.value

    async def _taken(self, session: Session) -> None:
        """Wait until the scheduler has taken a session's job.

        Raises
        ------
        StartFailed
            If it has not.
        """
        if (error := await _refusal(session)) is None:
            return
        error, session = self._refused or (error, session)
        reason = "submit" if isinstance(error, ClusterError) else "token"
        status = 503 if error.retryable else 403
        raise self._spawner.failure(error, reason, status, session) from None

    # -- the next ------------------------------------------------------------------------------

    async def _impatient(self, session: Session) -> str | None:
        """Wait until it is time for the next attempt; return why, None if there is none."""
        while session.record.replaceable and not (session.stopping or session.failed_on):
            record = session.record
            if record.over:
                error = await _refusal(session)
                if error is None or isinstance(error, NoJob):
                    return None  # elsewhere it would only hide what its admins have to mend
                self._refused = self._refused or (error, session)
                return error.sentence
            patience = patience_of(self._engine.site, record.profile)
            away = not record.job_id and not session.reachable
            limit = min(patience, REACH) if away else patience
            left = (record.queued_at or record.asked_at) + limit - time.time()
            if left <= 0:
                if away:
                    return f"{record.cluster} does not answer."
                words = show_duration(int(patience))
                return f"{self._title(record.profile)} did not start within {words}."
            await session.changed(left)
        return None

    async def _move(self, session: Session, why: str) -> Session:
        """Try the next; return the session that is the server from now on."""
        step = self._next()
        if step is None and not session.record.job_id:
            step = self._rest[0]  # a place in any queue is better than none
        for sentence in self._left_out:
            session.say(20, sentence)
        if step is None:
            session.say(20, f"{why} It keeps its place: there is no room elsewhere.")
            await session.changed(_LOOK_AGAIN)
            return session
        self._rest.remove(step)
        session.say(20, _instead(why, step))
        return await self._replace(session, step)

    async def _elsewhere(self, session: Session) -> Session:
        """Try the same on other nodes than those that could not start the job.

        Its job is given up: it might wait for its lease where it is.
        """
        node, record = session.failed_on, session.record
        self._avoid.append(node)
        log = self._spawner.log
        log.error("%s could not start job %s of %s", node, record.job_id, record.account)
        found: Session | None = None
        with contextlib.suppress(RoostError):  # the site file may say something else by now
            steps = {step.name: step for step in self._plan().steps}
            if record.profile in steps and len(self._avoid) < _NODES:
                session.say(20, f"{_unable(node)} Another node is tried.")
                found = await self._replace(session, steps[record.profile])
        if found is None or found is session:
            nodes = ", ".join(dict.fromkeys(self._avoid))
            why = f"No session could be started: {_unable(nodes)}"
            session.update(over=True, why=why, cause=str(Cause.FAILED))
            return session
        return found

    async def _replace(self, session: Session, step: Step) -> Session:
        """Submit the next; return the session that is the server from then on."""
        chosen = session.record.asked_profile or session.record.profile
        try:
            other = await self._submit(step, chosen=chosen, standby=True)
        except (ShepherdError, RoostError) as error:
            session.say(20, f"{step.selection.profile.title}: {error.sentence}")
            self._note_rest(session)
            return session
        try:
            await _submitted(session, other, patience_of(self._engine.site, step.name))
            if self._wins(session, other):
                self._switch(session, other)
                return other
        finally:
            if self._spawner.session is not other:
                reason = GivenUp.OVERFLOW if other.reachable else GivenUp.SUBMIT
                _let_go(other, GivenUp.STOPPED if session.stopping else reason)
        await self._stay(session, other)
        return session

    @staticmethod
    def _wins(session: Session, other: Session) -> bool:
        """Whether the other attempt becomes the server, as things stand at this moment."""
        if session.stopping or session.record.started:
            return False
        has_job = bool(other.record.job_id) and not other.record.over
        # Where nothing waits any more, one that may yet be taken is better than none.
        return has_job or (session.record.over and not other.record.over)

    def _switch(self, old: Session, new: Session) -> None:
        """Make another session the server."""
        before, places = old.news, (old.record.profile, new.record.profile)
        old.stopping = True
        old.record = replace(old.record, left=True)
        _carry(new, before)
        self._spawner.take(new)
        clicked_at = old.record.clicked_at or old.record.asked_at
        new.update(standby=False, clicked_at=clicked_at)  # commits both
        _let_go(old, GivenUp.OVERFLOW)
        if len(set(places)) > 1:
            OVERFLOWS.labels(*places).inc()

    async def _stay(self, session: Session, other: Session) -> None:
        """Say why the other did not become the server, and go on without it."""
        if session.record.started:
            session.say(45, f"{self._title(session.record.profile)} has started after all.")
        elif not session.stopping:
            done = other.submission is not None and other.submission.done()
            error = await _refusal(other) if done else None
            sentence = error.sentence if error else f"{other.record.cluster} does not answer."
            session.say(20, f"{self._title(other.record.profile)}: {sentence}")
        self._note_rest(session)

    # -- small things --------------------------------------------------------------------------

    def _next(self) -> Step | None:
        """Return the next that is not known to be full."""
        return next((step for step in self._rest if not self._full(step)), None)

    def _full(self, step: Step) -> str:
        engine, selection = self._engine, step.selection
        try:
            sample = engine.capacity(selection.profile.cluster).glance()
        except RoostError:
            return ""  # to try it says it better
        max_age = _FRESH * engine.site.watch.capacity
        return full(sample, selection.resources, max_age=max_age, now=time.time())

    def _title(self, name: str) -> str:
        profile = self._engine.site.profiles.get(name)
        return profile.title if profile else name

    def _names(self) -> tuple[str, ...]:
        return tuple(step.name for step in self._rest)

    def _note_rest(self, session: Session) -> None:
        session.update(overflow=self._names())


def _unable(nodes: str) -> str:
    return f"{nodes} could not start your job; your account may not be known there."


def _decided(session: Session) -> Callable[[Record], bool]:
    return lambda record: record.ready or record.over or bool(session.failed_on)


def _instead(why: str, step: Step) -> str:
    profile = step.selection.profile
    return f"{why.rstrip('.')}: trying {profile.title} on {profile.cluster} instead."


def _carry(session: Session, before: Sequence[tuple[int, str]]) -> None:
    """Have a session tell first what has been told before it."""
    own, session.news = session.news, []
    for percent, message in [*before, *own]:
        session.say(percent, message)


async def _refusal(session: Session) -> ShepherdError | ClusterError | None:
    """Wait for a session's submit; return why there is no job, None if there is one."""
    if session.submission is None:
        return None
    await asyncio.wait([session.submission])  # which is not cancelled with us
    try:
        session.submission.result()
    except (ShepherdError, ClusterError) as error:
        return error
    return None


async def _submitted(session: Session, other: Session, limit: float) -> None:
    """Wait until it can be told which of two attempts is to be the server.

    Parameters
    ----------
    session
        The one that is it.
    other
        The one that is being submitted.
    limit
        Seconds after which the other has had its time.
    """
    events = [
        asyncio.ensure_future(_settled(session)),
        asyncio.ensure_future(_away(other)),
    ]
    try:
        await asyncio.wait(
            [*events, *([other.submission] if other.submission else [])],
            timeout=limit,
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        for event in events:
            event.cancel()


async def _settled(session: Session) -> None:
    await session.until(lambda record: session.stopping or record.started or record.over)


async def _away(session: Session) -> None:
    """Return once a session's cluster has not been reached for long enough."""
    while session.reachable:
        await session.changed()
    await asyncio.sleep(REACH)


def _let_go(session: Session, reason: GivenUp) -> None:
    """Give up an attempt; its job is removed, and remembered until that is confirmed."""
    session.stopping = True
    session.given_up = session.given_up or reason
    session.update(left=True, over=True)
    if session.record.ended:
        registry.discard(session)
        session.host.keep()
    session.wake()
