"""Whether a caller is the job: the one place that decides who gets a bundle.

HTCondor: the caller shows a key whose SHA-256 the job itself wrote into its own ad, through a
channel that only processes in its sandbox have.  Slurm: the caller shows the ticket that stands in
the job's script, which its owner and the admins alone can read, while the job runs.  Either way the
first key that passes is bound to the session: it may ask again, a lost answer must not kill the
session, and no other ever may.

A session's id stands in its job's mark, where anyone can read it who can read the queue.  So anyone
may call here, as often as they like: nobody gets in, nobody keeps the job out, and the scheduler is
not asked more often for it (:class:`Looks`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from roost_spawner.clusters.base import JobState
from roost_spawner.errors import ProofRefused
from roost_spawner.record import SessionState

if TYPE_CHECKING:
    from roost_spawner.clusters.base import JobView
    from roost_spawner.sessions import Session

PATIENCE = 10.0
"""Seconds to wait for the proof to show at the scheduler."""
IMPATIENCE = 0.6
"""Seconds to wait where too many wait already: long enough for the next look."""
MAX_PATIENT, MAX_PATIENT_ALL, MAX_CALLERS = 8, 400, 2000
"""How many may wait for long for one session, and for all; and how many at all."""
FREE_LOOKS = 20
"""Looks at one job before they are rationed."""
_RATION = 0.5
"""Seconds between two looks at one job from then on."""
_FIRST_PAUSE, _LAST_PAUSE = 0.02, 0.5


class NotYet(ProofRefused):
    """The proof does not show at the scheduler yet; the caller may ask again."""

    retryable = True


class Crowded(NotYet):
    """Too many callers wait already; the caller may ask again."""


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def key_digest(key: str) -> str:
    """Return the SHA-256 of a key given in hex, as the agent writes it into the ad."""
    return hashlib.sha256(bytes.fromhex(key)).hexdigest()


@dataclass(slots=True)
class _Tally:
    looks: int = 0
    last: float = 0.0
    patient: int = 0


class Looks:
    """Looks at jobs for callers that wait: one at a time for each session, and not for ever.

    However many ask, and for however long, the scheduler is asked a few times as long as the job is
    in the queue.  From then on the watcher's listing, which serves all sessions at once, says when
    it is worth another look.
    """

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[JobView | None]] = {}
        self._tallies: WeakKeyDictionary[Session, _Tally] = WeakKeyDictionary()
        self._patient = self._callers = 0

    def _tally(self, session: Session) -> _Tally:
        return self._tallies.setdefault(session, _Tally())

    async def turn(self, session: Session, limit: float) -> bool:
        """Wait until the scheduler may be asked about a session; whether that is in time.

        Parameters
        ----------
        session
            Whose job is to be looked at.
        limit
            Seconds to wait.
        """
        tally = self._tally(session)
        if tally.looks < FREE_LOOKS:
            return True
        deadline = time.monotonic() + limit
        if not await session.until(
            lambda record: record.state is not SessionState.QUEUED or record.over, limit
        ):
            return False
        while session.record.id not in self._running:
            pause = tally.last + _RATION - time.monotonic()
            if pause <= 0:
                break
            if time.monotonic() + pause > deadline:
                return False
            await asyncio.sleep(pause)
        return True

    async def look(self, session: Session) -> JobView | None:
        """Return the job as it is now, or as a look under way shows it."""
        key = session.record.id
        task = self._running.get(key)
        if task is None:
            tally = self._tally(session)
            tally.looks += 1
            tally.last = time.monotonic()
            task = asyncio.ensure_future(session.host.view(session))
            self._running[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def _done(self, key: str, task: asyncio.Task[JobView | None]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen: who had asked may have gone

    def enter(self, session: Session) -> bool:
        """Count a caller in; whether there is room for its patience.

        Those for whom there is none are looked for once all the same: a crowd of strangers must not
        keep the job itself out.

        Raises
        ------
        Crowded
            If the hub has more callers than it can bear.
        """
        tally = self._tally(session)
        if self._callers >= MAX_CALLERS:
            raise Crowded("Too many callers wait for their proof.")
        self._callers += 1
        patient = tally.patient < MAX_PATIENT and self._patient < MAX_PATIENT_ALL
        tally.patient += patient
        self._patient += patient
        return patient

    def leave(self, session: Session, *, patient: bool) -> None:
        """Count a caller out."""
        self._callers -= 1
        self._tally(session).patient -= patient
        self._patient -= patient


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


async def prove(session: Session, *, key: str, ticket: str, patience: float = PATIENCE) -> None:
    """Bind a caller's key to the session, or refuse it.

    Parameters
    ----------
    session
        The session that the caller says to be the job of.
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
    Crowded
        Likewise, and others wait already.
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
    patient = looks.enter(session)
    try:
        await _wait(session, key_hash, patience if patient else min(patience, IMPATIENCE))
    except NotYet as error:
        if patient:
            raise
        raise Crowded(error.sentence) from None
    finally:
        looks.leave(session, patient=patient)


async def _wait(session: Session, key_hash: str, patience: float) -> None:
    deadline = time.monotonic() + patience
    # The job may call before the answer to our submit has arrived.
    if not await session.until(lambda record: bool(record.job_id or record.over), patience):
        raise NotYet("The hub does not know the session's job yet.")
    pause = _FIRST_PAUSE
    while True:
        # Another caller may have proved itself meanwhile.
        if _bound(session, key_hash):
            return
        if not await looks.turn(session, deadline - time.monotonic()):
            raise NotYet("The session's job does not show the proof yet.")
        asked_at = time.monotonic()
        view = await looks.look(session)
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
