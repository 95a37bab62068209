"""What is kept of a session, and what a look at its job makes of it.  Pure.

``preparing → queued → starting → running → (evicting →) ended``; ``held``, ``suspended``,
``unknown`` and ``unreachable`` beside it.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.base import Cause, JobState

if TYPE_CHECKING:
    from roost_spawner.clusters.base import JobView

GRACE = 120.0
"""Seconds past the walltime that the scheduler has to end a job before the hub does."""
Place = tuple[str, str]
"""User name and server name."""


class SessionState(enum.StrEnum):
    """Where a session stands."""

    PREPARING = "preparing"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    EVICTING = "evicting"
    HELD = "held"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Wish:
    """An access token that the session gets."""

    audience: str
    scope: str


@dataclass(frozen=True, slots=True)
class Record:
    """What must survive the hub: kept in the spawner's state, committed at each step.

    It holds hashes only; no secret can be read out of the database.
    """

    id: str
    hub_id: str
    cluster: str
    profile: str
    account: str
    issuer: str = ""
    subject: str = ""
    python: str = ""
    workdir: str | None = None
    wishes: dict[str, Wish] = field(default_factory=dict)
    needs_ticket: bool = False
    token_hash: str = ""
    """SHA-256 of the server's API token: who may speak for this session."""
    ticket_hash: str = ""
    key_hash: str = ""
    """SHA-256 of the key that proved to be the job; no other gets the bundle."""
    submitting: bool = False
    """A submit was begun: from here on there may be a job, whether we know its id or not."""
    job_id: str = ""
    started: bool = False
    """The job's code has run; it must never run a second time."""
    ready: bool = False
    over: bool = False
    """Its server has ended, or will not come up; the job may still be there."""
    left: bool = False
    """The spawner has let go of it; only the removal of the job is still to be confirmed."""
    state: SessionState = SessionState.PREPARING
    node: str = ""
    placed: bool = False
    """Its node is sure: from what the job cannot write, and no service's host."""
    slot: str = ""
    port: int = 0
    why: str = ""
    """Why it waits or ended, a sentence for the user."""
    cause: str = ""
    """A :class:`~roost_spawner.clusters.base.Cause`, once it has one."""
    ends_at: float = 0.0
    """When its walltime is over, in seconds since the epoch; 0 while nobody knows."""
    walltime_s: float = 0.0
    """The walltime that the scheduler holds its job to; 0 while nobody knows, and where the hub
    leaves that to the scheduler."""
    prologue: str = ""
    """Shell lines that run before the server: the admin's, as the site file had them."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that the profile adds to the server's."""
    memory_mib: int = 0
    cpus: int = 0
    gpus: int = 0
    image: str | None = None
    """Apptainer image that its server runs in."""
    share_tokens: bool = False
    """Its owner has allowed that those with whom it is shared get its access tokens."""
    tls: bool = False
    """Its server speaks internal TLS; a hub that turns it on later finds older ones without."""
    asked_profile: str = ""
    """What its owner chose, if another profile's session took its place."""
    overflow: tuple[str, ...] = ()
    """Profiles that are tried if it does not start."""
    standby: bool = False
    """Submitted while another waits: it becomes the server, or goes."""
    asked_at: float = 0.0
    """When its owner asked for it, in seconds since the epoch, as the next four; 0: not yet."""
    clicked_at: float = 0.0
    """The same of the first attempt, if this one took its place."""
    queued_at: float = 0.0
    """When the scheduler had taken its job."""
    began_at: float = 0.0
    """When its job's code ran."""
    ready_at: float = 0.0
    """When its server answered."""
    over_at: float = 0.0
    """When it was over."""

    @property
    def mark(self) -> str:
        """The session mark that the job bears."""
        return f"{self.hub_id}/{self.id}"

    @property
    def ended(self) -> bool:
        """Whether the scheduler confirmed the end, or there never was a job."""
        return self.state is SessionState.ENDED

    @property
    def replaceable(self) -> bool:
        """Whether another may become the server in its place."""
        return bool(self.overflow) and not (self.started or self.ready or self.left)

    def is_misnamed(self, view: JobView) -> bool:
        """Whether the job that we submitted runs as another account than the owner's."""
        ours = view.mark == self.mark and view.job_id == self.job_id and not self.over
        return ours and view.owner is not None and view.owner != self.account

    def rightful(self, view: JobView) -> bool:
        """Whether a job is the one that this session submitted: a copied mark is nobody's.

        The Slurm controller does not record a token's subject; there the owner stands for it.
        """
        same = view.mark == self.mark and view.owner == self.account
        if self.needs_ticket:
            return same
        # Issuers compare with the trailing slash normalised.
        issuer = (view.issuer or "").rstrip("/")
        return same and view.subject == self.subject and issuer == self.issuer.rstrip("/")

    def overstayed(self, now: float) -> bool:
        """Whether it is past its walltime by the hub's own clock, whatever the scheduler shows."""
        ends = self.began_at + self.walltime_s + GRACE
        return bool(self.began_at and self.walltime_s) and now > ends

    def to_state(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Record:
        """Return a record as an older or newer hub may have kept it."""
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in state.items() if name in known}
        values["state"] = SessionState(values.get("state", SessionState.UNKNOWN))
        values["overflow"] = tuple(values.get("overflow", ()))
        values["wishes"] = {name: Wish(**wish) for name, wish in values.get("wishes", {}).items()}
        return cls(**values)

    def taken_up(self) -> Record:
        """Return it as a hub that was restarted goes on: what was not yet the server never is."""
        gone = self.left or self.standby
        return replace(self, left=True, over=True) if gone and not self.ended else self


def stamped(record: Record, now: float) -> Record:
    """Return a record with the times of what has just happened to it for the first time.  Pure."""
    happened = {
        "queued_at": bool(record.job_id),
        "began_at": record.started,
        "ready_at": record.ready,
        "over_at": record.over,
    }
    times: dict[str, Any] = {
        name: now for name, yes in happened.items() if yes and not getattr(record, name)
    }
    return replace(record, **times) if times else record


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at the job comes to."""

    state: SessionState
    why: str = ""
    over: bool = False
    """Whether the session is over though its job may still be there: remove the job."""
    cause: Cause | None = None


_PLAIN = {
    JobState.STARTING: SessionState.STARTING,
    JobState.EVICTING: SessionState.EVICTING,
    JobState.SUSPENDED: SessionState.SUSPENDED,
    JobState.UNKNOWN: SessionState.UNKNOWN,
}


def _held(record: Record, view: JobView) -> Verdict:
    cause = view.cause or Cause.HELD
    # What somebody decided they may take back: a start that is held so goes on waiting.  A job that
    # has run would start a second session once it is released.
    final = view.cause is not Cause.HELD or record.started or record.ready
    reason = view.reason or "The batch system put the job on hold."
    return Verdict(SessionState.HELD, reason, over=final, cause=cause if final else None)


def judge(record: Record, view: JobView) -> Verdict:
    """Return what the scheduler's view of the job means for the session.  Pure."""
    match view.state:
        case JobState.ENDED:
            cause = view.cause or Cause.UNKNOWN
            return Verdict(SessionState.ENDED, view.reason, over=True, cause=cause)
        case JobState.RUNNING:
            state = SessionState.RUNNING if record.ready else SessionState.STARTING
            return Verdict(state, view.reason)
        case JobState.HELD:
            return _held(record, view)
        case JobState.QUEUED if record.started:
            reason = view.reason or "The node was taken back and the job went back to the queue."
            cause = view.cause or Cause.EVICTED
            return Verdict(SessionState.EVICTING, reason, over=True, cause=cause)
        case JobState.QUEUED:
            return Verdict(SessionState.QUEUED, view.reason)
        case _:
            return Verdict(_PLAIN[view.state], view.reason, cause=view.cause)
