"""From a validated choice to a job: the session's record, its request, the submit, its node."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from roost_shepherd.errors import ShepherdError

from roost_spawner.agent_archive import remember
from roost_spawner.bootstrap import agent_source, bootstrap_code
from roost_spawner.clusters.base import JobRequest, Launcher
from roost_spawner.errors import ClusterError, ClusterRefused, NotReached, RoostError
from roost_spawner.proof import digest
from roost_spawner.record import Record, SessionState, Wish
from roost_spawner.sessions import Session, registry
from roost_spawner.site.units import show_duration, show_memory
from roost_spawner.starts import GivenUp

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Sequence

    from roost_spawner.clusters.base import Resources
    from roost_spawner.engine import Engine
    from roost_spawner.options import Selection
    from roost_spawner.record import Place
    from roost_spawner.sessions import Host

HANDOFF = "hub/api/roost/v1/"
_EXPLAIN_AFTER, _EXPLAIN_EVERY = 4.0, 10.0
_AGAIN = 3.0
"""Seconds between attempts to reach a scheduler that does not answer."""
_CONNECT = 5.0
_SEARCH = 45.0
"""Seconds in which a job shows whose submit had no answer, or does not."""


def _amounts(resources: Resources) -> str:
    def several(count: int, word: str) -> str:
        return f"{count} {word}{'' if count == 1 else 's'}"

    parts = [several(resources.cpus, "core"), show_memory(resources.memory_mib)]
    if resources.gpus:
        parts.append(several(resources.gpus, "GPU"))
    return f"{', '.join(parts)} for {show_duration(resources.walltime_s)}"


async def prepare(
    engine: Engine,
    selection: Selection,
    *,
    place: Place,
    host: Host,
    server_token: str,
    avoid: Sequence[str] = (),
) -> tuple[Session, JobRequest]:
    """Make a session of a choice, and the request for its job.

    Parameters
    ----------
    engine
        The hub's shared part.
    selection
        What the user may have.
    place
        Whose server it becomes; the user's name is the account.
    host
        Who acts for it.
    server_token
        The server's API token: who holds it speaks for the session.
    avoid
        Nodes that have failed to start such a job.

    Raises
    ------
    RoostError, ShepherdError
        If the cluster is not there any more, or the user has no grant.
    """
    site, profile = engine.site, selection.profile
    cluster = engine.cluster(profile.cluster)
    grant = await engine.shepherd.status(place[0])
    ticket = secrets.token_urlsafe(32) if cluster.needs_ticket else None
    wishes = profile.tokens if profile.tokens is not None else site.tokens
    record = Record(
        id=engine.origin.new_id(site.hub_id),
        hub_id=site.hub_id,
        cluster=profile.cluster,
        profile=selection.name,
        account=place[0],
        issuer=grant.issuer or "",
        subject=grant.subject or "",
        python=site.python_of(profile),
        image=profile.image,
        workdir=profile.workdir,
        prologue=site.prologue_of(profile),
        environment=site.environment_of(profile),
        wishes={name: Wish(wish.audience, wish.scope) for name, wish in wishes.items()},
        memory_mib=selection.resources.memory_mib,
        cpus=selection.resources.cpus,
        gpus=selection.resources.gpus,
        needs_ticket=cluster.needs_ticket,
        token_hash=digest(server_token),
        ticket_hash=digest(ticket) if ticket else "",
        share_tokens=selection.share_tokens,
        asked_at=time.time(),
    )
    session = Session(record, place, host)
    registry.add(session)
    session.say(
        5, f"{profile.title}: asking {profile.cluster} for {_amounts(selection.resources)}."
    )
    sha256 = _pinned(host.agent_folder, engine.log)
    code = bootstrap_code(urljoin(site.hub_url, HANDOFF), record.id, sha256)
    # The agent runs on the node itself, whatever the server runs in.
    python = site.clusters[profile.cluster].python if profile.image else record.python
    launcher = Launcher(python=python, code=code, ticket=ticket)
    return session, JobRequest(
        record.mark, selection.resources, launcher, profile.extras, tuple(avoid)
    )


def _pinned(folder: str, log: logging.Logger) -> str:
    """Return the hash of the agent that the job pins, kept for the hubs that come after us."""
    try:
        return remember(Path(folder))
    except OSError as error:
        log.warning("Jobs that wait while this hub is upgraded will be lost: %s", error)
        return agent_source()[1]


async def submit(
    engine: Engine,
    session: Session,
    request: JobRequest,
    *,
    token: Callable[[], Awaitable[str]],
    log: logging.Logger,
) -> None:
    """Submit a session's job as its owner.  Runs to its end even if the start is cancelled.

    A scheduler that cannot be reached is tried again until the session is stopped.  One that was
    reached and did not answer may have taken the job: it is looked for, never submitted twice.

    Parameters
    ----------
    engine
        The hub's shared part.
    session
        The session.
    request
        Its job.
    token
        Returns the owner's token for the cluster.
    log
        The hub's log.

    Raises
    ------
    ClusterError
        If the cluster refuses, or does not answer.
    ShepherdError
        If the owner has no token.
    """
    record = session.record
    session.submitted_at = math.inf
    # The mark is kept before the job that bears it exists: a hub that dies in between finds it.
    session.update(submitting=True)
    try:
        job_id = await _reach(engine, session, request, token)
    except (ClusterRefused, NotReached, ShepherdError) as error:
        refused = GivenUp.TOKEN if isinstance(error, ShepherdError) else GivenUp.SUBMIT
        session.given_up = session.given_up or refused
        session.end(error.sentence)
        raise
    except BaseException as error:
        # Nobody said no: the job may be there.  The watcher looks for its mark.
        session.submitted_at = time.monotonic()
        engine.watcher(record.cluster).follow()
        if not isinstance(error, ClusterError) or not await _turns_up(session, error):
            raise
        job_id = session.record.job_id
    else:
        session.submitted_at = time.monotonic()
        session.update(job_id=job_id)
    if session.record.state is SessionState.PREPARING:
        session.update(state=SessionState.QUEUED)
    log.info("Session %s of %s is job %s", record.mark, record.account, job_id)
    session.say(15, f"Job {job_id} is in the queue of {record.cluster}.")
    engine.watcher(record.cluster).follow()


async def _reach(
    engine: Engine, session: Session, request: JobRequest, token: Callable[[], Awaitable[str]]
) -> str:
    """Submit, again and again while the scheduler cannot even be reached."""
    while True:
        value = await token()
        if session.stopping:
            raise NotReached("The start was cancelled before the job was submitted.")
        try:
            return await engine.cluster(session.record.cluster).submit(request, token=value)
        except NotReached as error:
            session.unreachable(f"{error.sentence} Your session starts as soon as it does.")
        # Stopped meanwhile, the next round finds out.
        await session.until(lambda _: session.stopping, _AGAIN)


async def _turns_up(session: Session, error: ClusterError) -> bool:
    """Wait until a job whose submit had no answer shows in the queue; whether it does."""
    session.unreachable(f"{error.sentence} Whether it has your job will show when it does.")
    await session.until(lambda record: bool(record.job_id) or record.over, _SEARCH)
    return bool(session.record.job_id) and not session.record.over


async def reachable(session: Session) -> None:
    """Wait until a session's server takes connections, or the session is over."""
    node, port = session.record.node, session.record.port
    while not session.record.over:
        try:
            async with asyncio.timeout(_CONNECT):
                _, writer = await asyncio.open_connection(node, port)
        except OSError:  # TimeoutError is one
            await session.until(lambda record: record.over, _AGAIN)
            continue
        writer.close()
        return


async def explain(engine: Engine, session: Session, log: logging.Logger) -> None:
    """Say why a job does not start, once waiting has become noticeable."""
    record, now = session.record, time.monotonic()
    waits = record.state is SessionState.QUEUED and record.job_id
    if not waits or now < max(session.submitted_at + _EXPLAIN_AFTER, session.explain_after):
        return
    session.explain_after = now + _EXPLAIN_EVERY  # however many look at the page
    try:
        sentences = await engine.watcher(record.cluster).explain(record.job_id)
    except RoostError as error:
        log.debug("No explanation for job %s: %s", record.job_id, error)
        return
    if session.record.state is SessionState.QUEUED:
        for sentence in sentences:
            session.say(20, sentence)
