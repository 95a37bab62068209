"""What the broker tells about a partition, in the words that all clusters share.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.base import Pool, Room
from roost_spawner.clusters.slurm import reasons

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ALL_AWAY = reasons.sentence("ReqNodeNotAvail")
_SHUT = {
    # slurm.conf(5), State of a partition.
    "DOWN": reasons.sentence("PartitionDown"),
    "DRAIN": "The partition takes no new jobs.",
    "INACTIVE": reasons.sentence("PartitionInactive"),
}


def pool(name: str, record: Mapping[str, Any]) -> Pool:
    """Return what a partition has.

    Parameters
    ----------
    name
        The partition's.
    record
        Of ``GET /v1/capacity``; an older broker tells sums only.
    """
    minutes = record.get("max_minutes")
    return Pool(
        total=record["cpus_total"],
        free=record["cpus_free"],
        gpus_total=record["gpus_total"],
        gpus_free=record["gpus_free"],
        rooms=_rooms(record.get("rooms", ())),
        free_rooms=_rooms(record.get("free_rooms", ())),
        waiting=record.get("waiting", 0),
        next_end_at=record.get("next_end_at"),
        max_walltime_s=None if minutes is None else minutes * 60,
        problem=_problem(name, record),
    )


def _rooms(records: Iterable[Mapping[str, Any]]) -> tuple[Room, ...]:
    return tuple(
        Room(
            record["count"],
            record["cpus"],
            record["memory_mib"],
            record["gpus"],
            record["gpu_type"],
        )
        for record in records
    )


def _problem(name: str, record: Mapping[str, Any]) -> str:
    state = record.get("state", "UP")
    if not state:
        return f"Slurm has no partition {name}."
    if state in _SHUT:
        return _SHUT[state]
    return "" if record.get("rooms", True) else _ALL_AWAY
