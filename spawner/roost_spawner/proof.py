"""Whether a caller is the job: the one place that decides who gets a bundle.

HTCondor: the caller shows a key whose SHA-256 the job itself wrote into its own ad, through a
channel that only processes in its sandbox have.  Slurm: the caller shows the ticket that stands in
the job's script, which its owner and the admins alone can read, while the job runs.  Either way the
first key that passes is bound to the session: it may ask again, a lost answer must not kill the
session, and no other ever may.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import TYPE_CHECKING

from roost_spawner.clusters.base import JobState
from roost_spawner.errors import ProofRefused

if TYPE_CHECKING:
    from roost_spawner.clusters.base import Cluster, JobView
    from roost_spawner.sessions import Session

PATIENCE = 10.0
"""Seconds to wait for the proof to show at the scheduler."""
_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.5


class NotYet(ProofRefused):
    """The proof does not show at the scheduler yet; the caller may ask again."""

    retryable = True


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def key_digest(key: str) -> str:
    """Return the SHA-256 of a key given in hex, as the agent writes it into the ad."""
    return hashlib.sha256(bytes.fromhex(key)).hexdigest()


class Looks:
    """Looks at jobs for callers that wait, one at a time for each session.

    Anyone who can read the queue knows a session's id.  However many of them ask, the scheduler is
    asked once.
    """

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[JobView | None]] = {}

    async def look(self, session: Session, cluster: Cluster) -> JobView | None:
        """Return the job as it is now, or as a look under way shows it."""
        key = session.record.id
        task = self._running.get(key)
        if task is None:
            task = asyncio.ensure_future(cluster.look(session.record.job_id))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)


looks = Looks()


def _bound(session: Session, key_hash: str) -> bool:
    """Whether this very key has proved itself already.

    Raises
    ------
    ProofRefused
        If another has, or the time for it is over.
    """
    record = session.record
    if record.ready or record.over:
        raise ProofRefused("The bundle of this session is not handed out any more.")
    if record.key_hash and not hmac.compare_digest(record.key_hash, key_hash):
        raise ProofRefused("Another caller has proved to be this job.")
    return bool(record.key_hash)


def _check(session: Session, view: JobView, key_hash: str) -> bool:
    """Whether the proof shows; False for not yet.

    Raises
    ------
    ProofRefused
        If it never will.
    """
    record = session.record
    if not record.rightful(view):
        raise ProofRefused(
            "This is not the session's job.",
            detail=f"job {view.job_id} has mark {view.mark!r} and owner {view.owner!r}",
        )
    if view.state in {JobState.ENDED, JobState.HELD}:
        raise ProofRefused("The session's job does not run.", detail=f"it is {view.state}")
    if record.needs_ticket:
        return view.state is JobState.RUNNING
    if view.key_hash is None:
        return False
    if not hmac.compare_digest(view.key_hash, key_hash):
        raise ProofRefused("This key is not the job's.", detail=f"job {view.job_id}")
    return True


async def prove(
    session: Session, cluster: Cluster, *, key: str, ticket: str, patience: float = PATIENCE
) -> None:
    """Bind a caller's key to the session, or refuse it.

    Parameters
    ----------
    session
        The session that the caller says to be the job of.
    cluster
        Where its job is.
    key
        The caller's key, 64 hex digits.
    ticket
        The caller's ticket, empty if it has none.
    patience
        Seconds to wait for the proof to show.

    Raises
    ------
    NotYet
        If the proof does not show in time; the caller may ask again.
    ProofRefused
        If the caller is not the job.
    ClusterUnreachable
        If the scheduler does not answer.
    """
    key_hash = key_digest(key)
    if _bound(session, key_hash):
        return
    if session.record.needs_ticket and not hmac.compare_digest(
        session.record.ticket_hash, digest(ticket)
    ):
        raise ProofRefused("This ticket is not the session's.")
    deadline = time.monotonic() + patience
    # The job may call before the answer to our submit has arrived.
    if not await session.until(lambda record: bool(record.job_id), patience):
        raise NotYet("The hub does not know the session's job yet.")
    pause = _FIRST_PAUSE
    while True:
        asked_at = time.monotonic()
        view = await looks.look(session, cluster)
        if view is not None and _check(session, view, key_hash):
            break
        if time.monotonic() + pause > deadline:
            raise NotYet("The session's job does not show the proof yet.")
        await asyncio.sleep(pause)
        pause = min(1.5 * pause, _LAST_PAUSE)
    # No await from here on: of two callers one is first.
    if _bound(session, key_hash):
        return
    session.started_at = time.monotonic()
    session.update(key_hash=key_hash, started=True)
    session.observe(view, asked_at)
