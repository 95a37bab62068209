"""What a cluster must be able to do, whichever batch system it runs.

The rest of the package sees a cluster only through this module: a :class:`JobRequest` goes in, a
:class:`JobView` comes out.  Nothing here performs I/O.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

JobId = str
"""``"<cluster>.<proc>"`` on HTCondor, the decimal job id on Slurm."""


class JobState(enum.StrEnum):
    """Where a job stands, in words that both batch systems share."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    HELD = "held"
    SUSPENDED = "suspended"
    EVICTING = "evicting"
    ENDED = "ended"
    UNKNOWN = "unknown"
    """A state that we have no name for.  Never taken for dead."""

    @property
    def alive(self) -> bool:
        """Whether the job may still run or come to run."""
        return self is not JobState.ENDED


class Cause(enum.StrEnum):
    """Why a job ended, or is being ended, as far as the scheduler says; labels for metrics."""

    FINISHED = "finished"
    """Its program ended by itself with status 0."""
    FAILED = "failed"
    """Its program ended by itself, with another status or by a signal; or could not be started."""
    OUT_OF_MEMORY = "out-of-memory"
    OUT_OF_DISK = "out-of-disk"
    WALLTIME = "walltime"
    EVICTED = "evicted"
    """Its place was taken back: preempted, drained, the node shut down."""
    HELD = "held"
    REMOVED = "removed"
    """By its owner or an admin."""
    NODE_LOST = "node-lost"
    UNKNOWN = "unknown"


class SlotClass(enum.StrEnum):
    """Which kind of HTCondor slot a profile asks for."""

    RESERVED = "reserved"
    ORDINARY = "ordinary"


@dataclass(frozen=True, slots=True)
class Resources:
    """What one session asks the scheduler for."""

    cpus: int
    memory_mib: int
    walltime_s: int
    gpus: int = 0
    gpu_type: str | None = None
    slot: SlotClass = SlotClass.RESERVED
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None


@dataclass(frozen=True, slots=True)
class Launcher:
    """How the agent comes to run inside the job.

    Attributes
    ----------
    python
        Interpreter on the node, an absolute path.
    code
        Python source of the bootstrap.  It holds no secret: on HTCondor anyone can read it in the
        job's ad.
    ticket
        Bound to the session.  Only for schedulers that keep a job's script from other users; goes
        into the script, never into argv, environment or comment.
    """

    python: str
    code: str
    ticket: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A validated wish, complete: everything that a cluster needs to submit one session."""

    mark: str
    """``"<hub_id>/<random id>"``, opaque."""
    resources: Resources
    launcher: Launcher
    extras: Mapping[str, str] = field(default_factory=dict)
    """Raw submit commands (HTCondor) or options (Slurm) of the profile; the family refuses those
    that would override what is ours."""
    avoid: Sequence[str] = ()
    """Host names of nodes that must not run it (HTCondor)."""

    @property
    def hub_id(self) -> str:
        """The hub's own part of the session mark."""
        return self.mark.partition("/")[0]


@dataclass(frozen=True, slots=True)
class JobView:
    """One job as the scheduler showed it at one moment."""

    job_id: JobId
    state: JobState
    mark: str | None = None
    owner: str | None = None
    """The Unix account that the job runs as."""
    subject: str | None = None
    """The token subject that submitted the job, where the scheduler records it (HTCondor's
    ``AuthTokenSubject``)."""
    issuer: str | None = None
    node: str | None = None
    """Host name of the node, for people to read.  Where the hub reaches it, says
    :meth:`Cluster.node`."""
    slot: str | None = None
    """Slot name (HTCondor) or partition (Slurm), for people to read."""
    key_hash: str | None = field(default=None, repr=False)
    """SHA-256 of the agent's key, as the job itself wrote it into its ad (HTCondor only)."""
    reason: str = ""
    """Why it waits or ended, a sentence for the user; empty when there is nothing to say."""
    detail: str = ""
    """The same in the scheduler's own words, for the log."""
    cause: Cause | None = None
    """Why it ended, is held or is being evicted; None for a job that just lives."""
    started_at: float | None = None
    """When its program began, in seconds since the epoch by the scheduler's clock."""
    ends_at: float | None = None
    """When its walltime is over, likewise."""
    failed_on: str = ""
    """Host name of a node that could not start the job, which therefore still waits for one that
    can; it may never leave that node by itself."""
    walltime_s: float | None = None
    """Its walltime, where the hub holds it to that by its own clock as well: on HTCondor, where the
    start stands in the job's ad.  Slurm's controller has clock and limit to itself."""


@dataclass(frozen=True, slots=True)
class Room:
    """Places that are alike: slots, or nodes with what is left on each."""

    count: int
    cpus: int
    memory_mib: int
    gpus: int = 0
    gpu_type: str | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """What the jobs in a pool really take of the nodes, as far as the scheduler tells."""

    cores_busy: float
    """Load that the jobs make, in cores."""
    cores_real: int
    """Cores that the nodes really have, whatever is promised of them."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Capacity of one kind of place (a slot class, a partition)."""

    total: int
    free: int
    gpus_total: int = 0
    gpus_free: int = 0
    unit: str = "cores"
    """What ``total`` and ``free`` count: ``slots`` (reserved ones) or ``cores``."""
    rooms: tuple[Room, ...] = ()
    """What there is when nothing runs, of the nodes that are up: what fits in none never starts."""
    free_rooms: tuple[Room, ...] = ()
    """What could be taken now."""
    waiting: int = 0
    """Jobs that wait for it, whoever's they are as far as the scheduler tells."""
    next_end_at: float | None = None
    """When the first of the jobs here must have ended by its walltime, in seconds since the
    epoch; None if nobody knows."""
    max_walltime_s: int | None = None
    """The longest walltime that the scheduler lets a job here have."""
    problem: str = ""
    """Why nothing starts here at all, a sentence for the user: all nodes away, partition down."""
    use: Use | None = None
    """How an overbooked pool stands; None if nobody tells, or nothing is overbooked."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a cluster has and what of it is free, by slot class or partition."""

    pools: Mapping[str, Pool]
    by: Literal["slot", "partition"] = "partition"
    """What names the pools: the field of :class:`Resources`."""

    def of(self, wanted: Resources) -> Pool | None:
        """Return where a session would run; None if there is no pool of that name.

        Slurm takes a list of partitions (``gpu,cpu``): those of them that there are count as one.
        """
        name = getattr(wanted, self.by) or ""
        if name in self.pools:
            return self.pools[name]
        return together([self.pools[part] for part in name.split(",") if part in self.pools])


def together(pools: Sequence[Pool]) -> Pool | None:
    """Return what several pools have between them; None of none.  A node of two counts twice."""
    if len(pools) < 2:
        return pools[0] if pools else None
    usable = [pool for pool in pools if not pool.problem] or pools
    longest = [pool.max_walltime_s for pool in usable]
    return replace(
        usable[0],
        total=sum(pool.total for pool in pools),
        free=sum(pool.free for pool in usable),
        gpus_total=sum(pool.gpus_total for pool in pools),
        gpus_free=sum(pool.gpus_free for pool in usable),
        rooms=tuple(room for pool in usable for room in pool.rooms),
        free_rooms=tuple(room for pool in usable for room in pool.free_rooms),
        waiting=min(pool.waiting for pool in usable),
        next_end_at=min((at for pool in usable if (at := pool.next_end_at)), default=None),
        max_walltime_s=None if None in longest else max(filter(None, longest), default=None),
    )


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the scheduler's rules make of a wish, apart from what there is room for."""

    problems: tuple[str, ...] = ()
    """Why it would be refused, in sentences."""
    unchecked: tuple[str, ...] = ()
    """What shows at a submit only, in sentences."""


class Cluster(Protocol):
    """One batch system, reached with the tokens of those on whose behalf we act.

    Every call is a coroutine that never blocks the event loop and has a time limit of its own.
    They raise :class:`roost_spawner.errors.ClusterError`.
    """

    name: str
    audience: str
    """What a user's access token must be made out to, for this cluster to take it."""
    submit_scopes: Sequence[str]
    """Scopes of the access token for :meth:`submit` and :meth:`cancel`."""
    needs_ticket: bool
    """Whether :attr:`Launcher.ticket` stands in for a key hash in the job's ad."""

    @property
    def hosts(self) -> Sequence[str]:
        """Return where its services are, names, addresses or URLs: no session is sent there."""
        ...

    async def node(self, view: JobView) -> str | None:
        """Return the node on which a job runs, from what the job cannot write.

        None if that cannot be told yet.
        """
        ...

    async def submit(self, request: JobRequest, *, token: str) -> JobId:
        """Submit as the user whose `token` this is, and return the job's id."""
        ...

    async def cancel(self, job_id: JobId, *, token: str) -> None:
        """Remove a job as its owner; a job that is gone already is no error."""
        ...

    async def watch(self) -> Mapping[JobId, JobView]:
        """Return every job of this hub, in one query, under the watcher's own identity."""
        ...

    async def look(self, job_id: JobId) -> JobView | None:
        """Return one job as it is now, not from a cache; None if the scheduler has no such job."""
        ...

    async def fate(self, job_id: JobId) -> JobView | None:
        """Return how a job ended that the queue shows no more, from the scheduler's records.

        None if they do not know it (yet): that says nothing about the job.
        """
        ...

    async def explain(
        self, job_id: JobId, *, may_ask: Callable[[int], bool] = lambda _: True
    ) -> Sequence[str]:
        """Return why a job does not start, in sentences for its owner; the weightiest first.

        ``may_ask`` is told how many questions to the scheduler it takes; if not, what is known from
        an earlier look is what is said.
        """
        ...

    async def warm(self) -> None:
        """Prepare what the next submit needs: connections, processes.  Cheap when all is there."""
        ...

    async def capacity(self) -> Capacity:
        """Return what is free."""
        ...

    async def judge(
        self, wanted: Resources, extras: Mapping[str, str], *, token: str | None = None
    ) -> Judgement:
        """Return what a submit of this would meet with, as far as can be told without one.

        As the watcher; or as the user whose `token` for submits is given, which tells besides
        whether the cluster takes it.
        """
        ...

    async def close(self) -> None:
        """Release processes and connections."""
        ...
