"""Why a notebook does not start yet, from the queue and the slots as they are.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.htcondor import negotiators
from roost_spawner.site.units import show_memory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roost_spawner.clusters.base import JobId

JOB_PROJECTION = (
    "ClusterId",
    "ProcId",
    "Owner",
    "RequestCpus",
    "RequestMemory",
    "RequestGPUs",
    "ConcurrencyLimits",
    "LastRejMatchReason",
    "LastRejMatchTime",
    "QDate",
    "ServerTime",
)
SLOT_PROJECTION = ("Name", "State", "Cpus", "Memory", "GPUs", negotiators.SERVED_BY)
_UNHEARD = 30
"""Seconds after which a job that a free slot fits has been passed over: negotiators look for places
for notebooks every second."""

# Parts of LastRejMatchReason, as the negotiator writes them (HTCondor manual, appendix "Job
# ClassAd Attributes").
_REJECTIONS = (
    ("concurrency limit", "As many jobs of this kind as may run at once are running."),
    ("submitter limit", "You have your fair share of the slots; others come first now."),
    ("group quota", "Your group has its share of the slots; others come first now."),
    ("insufficient priority", "Others come first: they have used less lately."),
    ("PREEMPTION_REQUIREMENTS", "All slots that fit are taken."),
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the queue of notebooks and their slots looked like at one moment.

    Attributes
    ----------
    waiting
        Ads of the notebooks that wait.
    slots
        Ads of the reserved slots.
    negotiators
        Ads of the pool's negotiators; None if nobody tells.
    """

    waiting: Sequence[Mapping[str, Any]]
    slots: Sequence[Mapping[str, Any]]
    negotiators: Sequence[Mapping[str, Any]] | None = None

    def of(self, job_id: JobId) -> list[str]:
        """Return the reasons of one job, the weightiest first; none for one that does not wait."""
        mine = next((ad for ad in self.waiting if _job_id(ad) == job_id), None)
        if mine is None:
            return []
        if not self.slots:
            return ["No node with slots for notebooks is up at the moment."]
        fitting = [slot for slot in self.slots if _fits(slot, mine)]
        if not fitting:
            return [self._too_large(mine)]
        if gone := negotiators.missing(self.slots, self.negotiators):
            return [gone]
        if _passed_over(fitting, mine):
            return ["There is room, but the pool looks for no place for this notebook."]
        found = [_rejection(mine), _occupancy(fitting, len(self.slots)), self._position(mine)]
        return [sentence for sentence in found if sentence]

    def _too_large(self, mine: Mapping[str, Any]) -> str:
        wanted, offered = _amounts(mine, "Request"), ""
        best = max(self.slots, key=lambda slot: (_number(slot, "Memory"), _number(slot, "Cpus")))
        offered = _amounts(best, "")
        return f"No slot for notebooks has {wanted}; the largest has {offered}. It cannot start."

    def _position(self, mine: Mapping[str, Any]) -> str:
        key = _number(mine, "ClusterId")
        ahead = sum(_number(ad, "ClusterId") < key for ad in self.waiting)
        if not ahead:
            return "Yours is the next notebook in the queue."
        plural = "" if ahead == 1 else "s"
        return f"{ahead} notebook{plural} ahead of you."


def _job_id(ad: Mapping[str, Any]) -> str:
    return f"{ad.get('ClusterId')}.{ad.get('ProcId', 0)}"


def _number(ad: Mapping[str, Any], name: str) -> int:
    value = ad.get(name)
    return int(value) if isinstance(value, (int, float)) else 0


def _fits(slot: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    return all(
        _number(slot, name) >= _number(job, f"Request{name}") for name in ("Cpus", "Memory", "GPUs")
    )


def _amounts(ad: Mapping[str, Any], prefix: str) -> str:
    cpus, memory = _number(ad, f"{prefix}Cpus"), _number(ad, f"{prefix}Memory")
    gpus = _number(ad, f"{prefix}GPUs")
    parts = [f"{cpus} core{'' if cpus == 1 else 's'}", show_memory(memory)]
    if gpus:
        parts.append(f"{gpus} GPU{'' if gpus == 1 else 's'}")
    return " and ".join(parts)


def _rejection(mine: Mapping[str, Any]) -> str:
    said = mine.get("LastRejMatchReason")
    if not isinstance(said, str):
        return ""
    return next((words for part, words in _REJECTIONS if part.lower() in said.lower()), "")


def _passed_over(fitting: Sequence[Mapping[str, Any]], mine: Mapping[str, Any]) -> bool:
    """Whether a free slot fits, and no negotiator has considered the job for a while."""
    heard = max(_number(mine, "QDate"), _number(mine, "LastRejMatchTime"))
    free = any(slot.get("State") == "Unclaimed" for slot in fitting)
    return free and bool(heard) and _number(mine, "ServerTime") > heard + _UNHEARD


def _occupancy(fitting: Sequence[Mapping[str, Any]], total: int) -> str:
    free = sum(slot.get("State") == "Unclaimed" for slot in fitting)
    away = sum(slot.get("State") in {"Owner", "Drained"} for slot in fitting)
    if free:
        return ""
    if away == len(fitting):
        return "The nodes with slots for notebooks are being drained or kept by their admins."
    closed = f" {away} of them on nodes that take none now." if away else ""
    return f"All {total} slots for notebooks are taken.{closed}"
