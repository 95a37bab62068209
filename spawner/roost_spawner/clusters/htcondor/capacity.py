"""What a pool has and what of it is free, from the ads of its slots.  Pure.

States are those of the HTCondor manual, "Machine States" of the execution point's policy.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.base import Capacity, Pool, Room, SlotClass, Use
from roost_spawner.clusters.htcondor import negotiators

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Ad = Mapping[str, Any]

CONSTRAINT = "DynamicSlot =!= true"
"""Of a slot that was cut from a partitionable one, the latter tells what is left."""
PROJECTION = (
    "Name",
    "RoostSlot",
    "SlotTypeID",
    "State",
    "Offline",
    "TotalSlotCpus",
    "TotalSlotMemory",
    "TotalSlotGPUs",
    "Cpus",
    "Memory",
    "GPUs",
    "GPUs_DeviceName",
    "PartitionableSlot",
    "CondorLoadAvg",
    "DetectedCpus",
    negotiators.SERVED_BY,
)
_PART = re.compile(r"_\d+(?=@)")
"""What the name of a slot has more than that of the partitionable one that it was cut from."""
_MOST = 1e9
"""More than any slot has of anything."""
_AWAY = frozenset({"Owner", "Drained", "Shutdown", "Delete"})


def capacity(
    slots: Sequence[Ad], ends: Mapping[str, float], there: Sequence[Ad] | None = None
) -> Capacity:
    """Return the slots for notebooks, and the cores of the ordinary slots.

    Parameters
    ----------
    slots
        Ads of :data:`PROJECTION`.
    ends
        When jobs that are known must have ended by their walltime, by the slot's name.
    there
        Ads of the pool's negotiators; None if nobody tells.
    """
    # A node says what it likes: a slot without these is none.
    slots = [slot for slot in slots if _text(slot, "Name") and _text(slot, "State")]
    reserved = [slot for slot in slots if slot.get("RoostSlot") is True]
    ordinary = [slot for slot in slots if slot.get("RoostSlot") is not True]
    return Capacity(
        {
            SlotClass.RESERVED: replace(
                _pool(reserved, ends, "slots", "slots for notebooks", there),
                use=_use(reserved),
            ),
            SlotClass.ORDINARY: _pool(ordinary, ends, "cores", "ordinary slots", there),
        },
        by="slot",
    )


def _text(slot: Ad, name: str) -> str | None:
    value = slot.get(name)
    return value if isinstance(value, str) else None


def _number(slot: Ad, name: str) -> float:
    value = slot.get(name)
    return min(max(value, 0.0), _MOST) if isinstance(value, (int, float)) else 0.0


def _pool(
    slots: Sequence[Ad],
    ends: Mapping[str, float],
    unit: str,
    kind: str,
    there: Sequence[Ad] | None,
) -> Pool:
    up = [slot for slot in slots if not _away(slot)]
    free = [slot for slot in up if slot.get("PartitionableSlot") or slot["State"] == "Unclaimed"]
    every, rooms, left = _rooms(slots, "TotalSlot"), _rooms(up, "TotalSlot"), _rooms(free, "")
    names = {slot["Name"] for slot in slots}
    ending = [end for name, end in ends.items() if names & {name, _PART.sub("", name)}]

    def size(found: Iterable[Room]) -> int:
        return sum(room.count * (1 if unit == "slots" else room.cpus) for room in found)

    return Pool(
        total=size(every),
        free=size(left),
        gpus_total=sum(room.count * room.gpus for room in every),
        gpus_free=sum(room.count * room.gpus for room in left),
        unit=unit,
        rooms=rooms,
        free_rooms=left,
        next_end_at=min(ending, default=None),
        problem=negotiators.missing(slots, there) if up else _problem(slots, kind),
    )


def _use(slots: Sequence[Ad]) -> Use | None:
    """Return what jobs in overbooked slots really take; None if the nodes do not tell."""
    nodes = {slot["Name"].rpartition("@")[2]: int(_number(slot, "DetectedCpus")) for slot in slots}
    if not all(nodes.values()) or not nodes:
        return None
    return Use(sum(_number(slot, "CondorLoadAvg") for slot in slots), sum(nodes.values()))


def _problem(slots: Sequence[Ad], kind: str) -> str:
    if not slots:
        return f"No node with {kind} is up at the moment."
    return f"The nodes with {kind} are being drained or kept by their admins."


def _away(slot: Ad) -> bool:
    return slot["State"] in _AWAY or slot.get("Offline") is True


def _rooms(slots: Iterable[Ad], prefix: str) -> tuple[Room, ...]:
    """Return the slots, or what is left of them, those that are alike as one."""
    alike = Counter(_size(slot, prefix) for slot in slots)
    return tuple(Room(count, *size) for size, count in alike.items() if size[0])


def _size(slot: Ad, prefix: str) -> tuple[int, int, int, str | None]:
    cpus, memory, gpus = (
        int(_number(slot, f"{prefix}{name}")) for name in ("Cpus", "Memory", "GPUs")
    )
    return cpus, memory, gpus, _text(slot, "GPUs_DeviceName") if gpus else None
