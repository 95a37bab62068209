"""What partitions have and what of it is free, from Slurm's nodes, partitions and jobs.  Pure.

Field names are those of slurmrestd's data parsers v0.0.42 (Slurm 24.11.5) to v0.0.45 (26.05.3),
which are alike here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.slurm.broker.views import gpus_of, number, partitions_of, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Raw = Mapping[str, Any]
    _Room = tuple[int, int, int, str | None]
    """Cores, memory in MiB, GPUs and their type."""

_AWAY = frozenset(
    (
        "DOWN",
        "DRAIN",
        "DYNAMIC_FUTURE",
        "ERROR",
        "EXTERNAL",
        "FAIL",
        "FUTURE",
        "INVALID_REG",
        "MAINTENANCE",
        "NOT_RESPONDING",
        "POWER_DRAIN",
        "UNKNOWN",
    )
)
"""Node states and flags with which no job is started before somebody has done something."""
_UNUSABLE = _AWAY | frozenset(
    (
        "BLOCKED",
        "POWERED_DOWN",
        "POWERING_DOWN",
        "POWER_DOWN",
        "POWER_DOWN_ASAP",
        "POWER_DOWN_FORCE",
        "REBOOT_ISSUED",
        "RESERVED",
    )
)
"""With which none is started at once: those of ``NODE_STATE_*`` in ``slurm.h`` by the names of
slurmrestd's data parsers, 24.11.5 and 26.05.3."""
_WAITS_FOR_A_PLACE = frozenset(("", "None", "Priority", "Resources"))
"""Reasons of jobs that take what becomes free; others wait for a time, a limit, another job."""


def capacity(
    nodes: Iterable[Raw],
    *,
    partitions: Iterable[str],
    facts: Iterable[Raw] = (),
    jobs: Iterable[Raw] = (),
) -> dict[str, dict[str, Any]]:
    """Return what each partition has, and what of it is free.

    Parameters
    ----------
    nodes, facts, jobs
        Slurm's nodes, partitions and jobs, as slurmrestd shows them.
    partitions
        Names of those that are told.
    """
    nodes, jobs = list(nodes), list(jobs)
    known = {text(fact, "name"): fact for fact in facts}
    return {
        name: _sums([node for node in nodes if name in (node.get("partitions") or ())])
        | _facts(known.get(name))
        | _queue([job for job in jobs if name in partitions_of(job)])
        for name in partitions
    }


@dataclass(frozen=True, slots=True)
class _Place:
    """What a node has, or what is left of it."""

    cpus: int
    memory_mib: int
    gpus: dict[str | None, int]

    @property
    def gpu_count(self) -> int:
        return sum(self.gpus.values())

    def rooms(self) -> Iterator[_Room]:
        """Return it as a job sees it: with several types of GPUs, all of them and each type."""
        kinds = [(kind, count) for kind, count in self.gpus.items() if count]
        if len(kinds) != 1:
            yield self.cpus, self.memory_mib, self.gpu_count, None
        for kind, count in kinds:
            yield self.cpus, self.memory_mib, count, kind


def _whole(node: Raw) -> _Place:
    return _Place(
        number(node.get("effective_cpus")) or number(node.get("cpus")) or 0,
        (number(node.get("real_memory")) or 0) - (number(node.get("specialized_memory")) or 0),
        gpus_of(text(node, "gres")),
    )


def _left(node: Raw) -> _Place:
    whole, used = _whole(node), gpus_of(text(node, "gres_used"))
    return _Place(
        max(0, number(node.get("alloc_idle_cpus")) or 0),
        max(0, whole.memory_mib - (number(node.get("alloc_memory")) or 0)),
        {kind: max(0, count - used.get(kind, 0)) for kind, count in whole.gpus.items()},
    )


def _sums(nodes: Sequence[Raw]) -> dict[str, Any]:
    every = [_whole(node) for node in nodes]
    up = [_whole(node) for node in nodes if _AWAY.isdisjoint(node.get("state") or ())]
    free = [_left(node) for node in nodes if _UNUSABLE.isdisjoint(node.get("state") or ())]
    return {
        "cpus_total": sum(place.cpus for place in every),
        "cpus_free": sum(place.cpus for place in free),
        "gpus_total": sum(place.gpu_count for place in every),
        "gpus_free": sum(place.gpu_count for place in free),
        "largest_cpus": max((place.cpus for place in every), default=0),
        "largest_memory_mib": max((place.memory_mib for place in every), default=0),
        "largest_gpus": max((place.gpu_count for place in every), default=0),
        "rooms": _alike(up),
        "free_rooms": _alike(free),
    }


def _alike(places: Iterable[_Place]) -> list[dict[str, Any]]:
    counts = Counter(room for place in places for room in place.rooms() if any(room[:3]))
    names = ("cpus", "memory_mib", "gpus", "gpu_type")
    return [
        {"count": count, **dict(zip(names, room, strict=True))} for room, count in counts.items()
    ]


def _facts(fact: Raw | None) -> dict[str, Any]:
    """Return a partition's state, empty if Slurm has no such partition, and its longest job."""
    states = ((fact or {}).get("partition") or {}).get("state") or ()
    longest = ((fact or {}).get("maximums") or {}).get("time")
    return {"state": " ".join(str(word) for word in states), "max_minutes": number(longest)}


def _queue(jobs: Sequence[Raw]) -> dict[str, Any]:
    waiting = sum(
        "PENDING" in (job.get("job_state") or ())
        and number(job.get("priority")) != 0  # held
        and text(job, "state_reason") in _WAITS_FOR_A_PLACE
        for job in jobs
    )
    ends = [
        number(job.get("end_time"))
        for job in jobs
        if "RUNNING" in (job.get("job_state") or ()) and number(job.get("time_limit"))
    ]
    return {"waiting": waiting, "next_end_at": min((end for end in ends if end), default=None)}
