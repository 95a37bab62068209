"""Whether a session of a profile would start now, and if not, why and when.  Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from roost_spawner.site.units import show_duration, show_memory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roost_spawner.capacity import Sample
    from roost_spawner.clusters.base import Pool, Resources, Room

_NOW = "Starts now."
UNKNOWN = "Nobody can say when it starts."
_NEVER = "Cannot start."
_STEPS = ((600, 60), (3600, 300), (86400, 3600))
"""Up to so many seconds, times are told in steps of so many; in days beyond."""
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))
_ROUNDED = 8 * 1024
"""MiB from which on memory is told in whole GiB."""


class Starts(enum.StrEnum):
    """When a session would start."""

    NOW = "now"
    SOON = "soon"
    """In a time that can be told."""
    UNKNOWN = "unknown"
    """It has to wait, and nobody knows how long; or nobody knows anything."""
    NEVER = "never"
    """Not with what there is, or not while something is out of order."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What people read on a profile's card."""

    starts: Starts
    words: str
    """``Starts now.``, ``Starts in about 5 minutes.``, ``Nobody can say when it starts.``"""
    free: tuple[str, ...] = ()
    """What is free: ``12 of 40 reserved slots free``, ``GPUs: 1 of 4 free``."""
    why: str = ""
    """Why it cannot start now, a sentence; empty if it can."""
    as_of: float = 0.0
    """When the cluster was asked, in seconds since the epoch."""


def outlook_of(
    sample: Sample | None, wanted: Resources, *, expected_s: float | None = None, now: float
) -> Outlook:
    """Return what a profile's card says, by the last look at its cluster.

    Of a cluster that does not answer any more, what was free then is still told, with its time; but
    not that anything starts.

    Parameters
    ----------
    sample
        What :class:`roost_spawner.capacity.CapacityCache` knows; None if that is nothing yet.
    wanted, expected_s, now
        As for :func:`outlook`.
    """
    if sample is None:
        return Outlook(Starts.UNKNOWN, UNKNOWN)
    if sample.capacity is None:
        return Outlook(Starts.UNKNOWN, UNKNOWN, why=sample.problem, as_of=sample.at)
    pool = sample.capacity.of(wanted)
    found = replace(outlook(pool, wanted, expected_s=expected_s, now=now), as_of=sample.at)
    if sample.problem:
        return replace(found, starts=Starts.UNKNOWN, words=UNKNOWN, why=sample.problem)
    return found


def outlook(
    pool: Pool | None, wanted: Resources, *, expected_s: float | None = None, now: float
) -> Outlook:
    """Return what a profile's card says.

    Parameters
    ----------
    pool
        Its slot class or partition; None if the cluster has none of that name.
    wanted
        What a session with the profile's defaults asks for.
    expected_s
        How long starts of the profile that had to wait took lately (median), if known.
    now
        Seconds since the epoch.
    """
    why = never(pool, wanted)
    if pool is None:
        return Outlook(Starts.NEVER, _NEVER, why=why)
    free = _free(pool, wanted)
    if why:
        # Of what is out of service nothing is free, whatever there is.
        return Outlook(Starts.NEVER, _NEVER, () if pool.problem else free, why)
    if _has_place(pool, wanted):
        return Outlook(Starts.NOW, _unless(pool.waiting), free)
    why = _occupied(pool, wanted) + _waiting(pool.waiting)
    starts, words = _when(pool, expected_s, now)
    return Outlook(starts, words, free, why)


def _when(pool: Pool, expected_s: float | None, now: float) -> tuple[Starts, str]:
    if expected_s is not None:
        return Starts.SOON, f"Starts in about {_about(expected_s)}."
    if pool.next_end_at is None:
        return Starts.UNKNOWN, UNKNOWN
    left = _about(pool.next_end_at - now)
    if pool.unit == "slots" and not pool.waiting:
        # Slots are alike: the first to become free will do.
        return Starts.SOON, f"Starts in {left} at the latest."
    words = f"Nobody can say when it starts; the next job there ends in {left} at the latest."
    return Starts.UNKNOWN, words


def never(pool: Pool | None, wanted: Resources) -> str:
    """Return why a session can never start here, a sentence; empty if it can.

    Parameters
    ----------
    pool
        A slot class or partition; None if the cluster has none of that name.
    wanted
        What the session asks for.
    """
    if pool is None:
        if wanted.partition is None:
            return "The profile names no partition."
        return f"This cluster hands out no partition {wanted.partition}."
    if pool.problem:
        return pool.problem
    if pool.max_walltime_s is not None and wanted.walltime_s > pool.max_walltime_s:
        return (
            f"A session here lasts {show_duration(pool.max_walltime_s)} at the longest; "
            f"{show_duration(wanted.walltime_s)} are asked for."
        )
    return _nowhere(pool, wanted)


def _nowhere(pool: Pool, wanted: Resources) -> str:
    if pool.rooms:
        return "" if _any_fits(pool.rooms, wanted) else _too_large(pool, wanted)
    # A broker of before there were rooms.
    if wanted.gpus > pool.gpus_total or wanted.cpus > pool.total:
        return f"There is no place with {_amounts(wanted)}."
    return ""


def _any_fits(rooms: Iterable[Room], wanted: Resources) -> bool:
    return any(
        room.cpus >= wanted.cpus
        and room.memory_mib >= wanted.memory_mib
        and room.gpus >= wanted.gpus
        and (not wanted.gpus or wanted.gpu_type in (None, room.gpu_type))
        for room in rooms
    )


def _has_place(pool: Pool, wanted: Resources) -> bool:
    if pool.rooms:
        return _any_fits(pool.free_rooms, wanted)
    return pool.free >= wanted.cpus and pool.gpus_free >= wanted.gpus


def _too_large(pool: Pool, wanted: Resources) -> str:
    place = "slot" if pool.unit == "slots" else "node"
    rooms = [room for room in pool.rooms if wanted.gpu_type in (None, room.gpu_type)]
    if wanted.gpus and not any(room.gpus for room in rooms):
        kinds = sorted({room.gpu_type for room in pool.rooms if room.gpu_type})
        others = f"; there are: {', '.join(kinds)}" if kinds else ""
        return f"No {place} has a GPU{_of_type(wanted)}{others}."
    best = max(rooms, key=lambda room: (bool(wanted.gpus) * room.gpus, room.memory_mib, room.cpus))
    return f"No {place} has {_amounts(wanted)}; the largest has {_amounts(best)}."


def _occupied(pool: Pool, wanted: Resources) -> str:
    # Not that all are taken: nodes may be drained.
    if wanted.gpus and not _gpus(pool, wanted)[0]:
        return f"No GPU{_of_type(wanted)} is free."
    if pool.unit != "slots":
        return f"No node has {_amounts(wanted)} free."
    if pool.free:
        return f"No slot with {_amounts(wanted)} is free."
    return "No reserved slot is free."


def _unless(waiting: int) -> str:
    if not waiting:
        return _NOW
    whose = "the job that waits" if waiting == 1 else f"one of the {waiting} jobs that wait"
    return f"Starts now, unless the place goes to {whose}."


def _waiting(waiting: int) -> str:
    if not waiting:
        return ""
    return " 1 job waits for it." if waiting == 1 else f" {waiting} jobs wait for it."


def _free(pool: Pool, wanted: Resources) -> tuple[str, ...]:
    if pool.unit == "slots":
        return (f"{pool.free} of {pool.total} reserved slots free",)
    cores = f"{pool.free} of {pool.total} cores free"
    if not wanted.gpus:
        return (cores,)
    gpus_free, gpus_total = _gpus(pool, wanted)
    return (f"GPUs: {gpus_free} of {gpus_total} free", cores)


def _gpus(pool: Pool, wanted: Resources) -> tuple[int, int]:
    """Return the GPUs that are free, and all, of the type that is wanted."""
    if wanted.gpu_type is None or not pool.rooms:
        return pool.gpus_free, pool.gpus_total

    def count(rooms: Iterable[Room]) -> int:
        return sum(room.count * room.gpus for room in rooms if room.gpu_type == wanted.gpu_type)

    return count(pool.free_rooms), count(pool.rooms)


def _amounts(what: Resources | Room) -> str:
    cores = f"{what.cpus} core{'' if what.cpus == 1 else 's'}"
    memory = _memory(what.memory_mib)
    if not what.gpus:
        return f"{cores} and {memory}"
    gpus = f"{what.gpus} GPU{'' if what.gpus == 1 else 's'}"
    return f"{cores}, {memory} and {gpus}{_of_type(what)}"


def _of_type(what: Resources | Room) -> str:
    return f" of type {what.gpu_type}" if what.gpu_type else ""


def _memory(mib: int) -> str:
    """Return an amount as people say it: nodes have 257654 MiB."""
    return show_memory(mib if mib < _ROUNDED else mib // 1024 * 1024)


def _about(seconds: float) -> str:
    """Return a time as people say it, rounded up: who waits less is not disappointed."""
    if seconds <= 60:
        return "a minute"
    step = next((step for limit, step in _STEPS if seconds <= limit), 86400)
    rounded = -int(-seconds // step) * step
    size, unit = next((size, unit) for size, unit in _UNITS if rounded >= size)
    number = rounded // size
    return f"{number} {unit}{'' if number == 1 else 's'}"
