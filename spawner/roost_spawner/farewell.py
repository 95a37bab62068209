"""The end of a session: its job is removed as its owner, and remembered until that is confirmed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from roost_shepherd.errors import ShepherdError

from roost_spawner.errors import RoostError
from roost_spawner.record import SessionState
from roost_spawner.watch import find_out

if TYPE_CHECKING:
    import logging

    from roost_spawner.engine import Engine
    from roost_spawner.sessions import Session

_LOOK_EVERY, _LOOK_FOR = 0.25, 30.0
_MAX_PAUSE = 60.0
_BY_ITSELF = 10.0
"""Seconds in which a scheduler that has asked a job to end takes note that it has."""


async def see_off(engine: Engine, session: Session, log: logging.Logger) -> None:
    """Remove a session's job; return once the scheduler confirmed that it is gone.

    Tries until then.  Where the owner has no token any more nobody may cancel: the agent's next
    call is answered 410 and it ends the job from inside, and the watcher sees it go.
    """
    unasked = not session.stopping
    evicted = unasked and session.record.state is SessionState.EVICTING
    if session.submission is not None:
        # What went wrong with it has been told to whom it concerned.
        await asyncio.gather(session.submission, return_exceptions=True)
    if not session.record.submitting:
        session.end("It was never submitted.")
    if evicted:
        # The scheduler is about to say why; of a job that we have removed it would say that.
        engine.watcher(session.record.cluster).follow()
        if await session.until(lambda record: record.ended, _BY_ITSELF):
            await _clear(engine, session, log)
    pause = 1.0
    while not session.record.ended:
        name, job_id = session.record.cluster, session.record.job_id
        try:
            engine.watcher(name).follow()  # also finds a job whose id we do not know
            if job_id:
                cluster = engine.cluster(name)
                token = await engine.cluster_token(session.record.account, cluster)
                await cluster.cancel(job_id, token=token.value)
                await _confirm(engine, session, log, unasked=unasked)
        except (ShepherdError, RoostError) as error:
            log.warning("Cannot cancel job %s of %s yet: %s", job_id, name, error)
        except Exception:
            log.exception("Could not cancel job %s of %s", job_id, name)
        await session.until(lambda record: record.ended, pause)
        pause = min(2 * pause, _MAX_PAUSE)


async def _clear(engine: Engine, session: Session, log: logging.Logger) -> None:
    """Take a job out of the queue that an eviction has put back there: it must not start again."""
    name, job_id = session.record.cluster, session.record.job_id
    try:
        cluster = engine.cluster(name)
        token = await engine.cluster_token(session.record.account, cluster)
        await cluster.cancel(job_id, token=token.value)
    except (ShepherdError, RoostError) as error:
        # Its requirements keep it from starting, and the scheduler's own rules remove it.
        log.info("Job %s of %s is left to its scheduler: %s", job_id, name, error)


async def _confirm(engine: Engine, session: Session, log: logging.Logger, *, unasked: bool) -> None:
    name, deadline = session.record.cluster, time.monotonic() + _LOOK_FOR
    while time.monotonic() < deadline:
        asked_at = time.monotonic()
        view = await engine.watcher(name).view(session.record.job_id)
        if view is not None:
            session.observe(view, asked_at)
        else:
            if unasked:
                await find_out(session, engine.cluster(name), log)
            session.end("The job was removed.")
        if await session.until(lambda record: record.ended, _LOOK_EVERY):
            return
