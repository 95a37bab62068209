"""From a job's ad to what the hub makes of it.  Pure.

Codes are those of the HTCondor manual, appendix "Job ClassAd Attributes": JobStatus,
HoldReasonCode, VacateReasonCode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.base import JobState, JobView

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECTION = (
    "ClusterId",
    "ProcId",
    "JobStatus",
    "Owner",
    "AuthTokenSubject",
    "AuthTokenIssuer",
    "RoostSession",
    "RoostKeyHash",
    "RemoteHost",
    "StartdPrincipal",
    "JobCurrentStartExecutingDate",
    "NumJobStarts",
    "HoldReason",
    "HoldReasonCode",
    "HoldReasonSubCode",
    "RemoveReason",
    "VacateReason",
    "VacateReasonCode",
    "LastRejMatchReason",
    "ExitCode",
    "ExitSignal",
    "ExitBySignal",
    "MemoryProvisioned",
    "RoostWalltime",
)
"""What a query asks the schedd for."""

IDLE, RUNNING, REMOVED, COMPLETED, HELD, TRANSFERRING, SUSPENDED = range(1, 8)

_HOLDS = {
    1: "Somebody put the notebook's job on hold.",
    3: "A policy of the job put it on hold.",
    4: "The job's credentials could not be used.",
    6: "The node could not start the notebook's program.",
    7: "The node could not open the job's output.",
    8: "The node could not open the job's input.",
    12: "A file could not be brought back from the node.",
    13: "A file could not be brought to the node.",
    14: "The job's working directory is not there on the node.",
    15: "The job was submitted on hold.",
    16: "The job's files are being brought to the access point.",
    19: "The node could not prepare the job.",
    21: "A policy of the node put the job on hold.",
    22: "The access point could not write the job's log.",
    23: "The access point has no account for you.",
    26: "A policy of the access point put the job on hold.",
    34: "The notebook used more than its slot has.",
    35: "The container image could not be used.",
    43: "A script before the job failed.",
    44: "A script after the job failed.",
    45: "The container image could not be started.",
    46: "The notebook's time was up.",
    47: "The notebook's time was up.",
}
_OUT_OF_MEMORY, _OUT_OF_DISK = 102, 104
_NEEDED = "The node was needed for other work."
_VACATES = {
    # 1005 is what 23.9 gives for most: a job that ended at the node's SIGTERM.
    1000: "A policy of the job ended it.",
    1001: "A policy of the access point ended it.",
    1002: "Its access point had a fault.",
    1004: "Its owner or an admin ended it.",
    1007: "The node had a fault.",
    1008: "The node was out of reach for too long.",
    1010: "An admin ended it on the node.",
    1011: _NEEDED,
    1012: "The node had a fault.",
    1013: "The node was shut down.",
    1014: "The node is being drained by an admin.",
    1016: "The node was shut down.",
    1018: _NEEDED,
    1019: _NEEDED,
}
_EVICTED = "The notebook was moved off its node, and does not start a second time."
_REMOVALS = (
    # What the access point that we ship writes as the reason.
    ("Roost: walltime over", "The notebook's time was up."),
    ("Roost: not started in time", "No slot became free in time."),
    ("Roost: evicted", _EVICTED),
    ("Roost: held", "The job was put on hold, and has ended."),
    ("PeriodicRemove", "The notebook's time was up, or its job could not go on."),
)


def job_id(ad: Mapping[str, Any]) -> str:
    """Return ``"<cluster>.<proc>"``."""
    return f"{ad['ClusterId']}.{ad['ProcId']}"


def view(ad: Mapping[str, Any]) -> JobView:
    """Return one job as its ad shows it."""
    state = _state(ad)
    reason, detail = _reason(ad, state)
    slot, node = _place(ad)
    return JobView(
        job_id=job_id(ad),
        state=state,
        mark=_text(ad, "RoostSession"),
        owner=_text(ad, "Owner"),
        subject=_text(ad, "AuthTokenSubject"),
        issuer=_text(ad, "AuthTokenIssuer"),
        node=node,
        slot=slot,
        key_hash=_text(ad, "RoostKeyHash"),
        reason=reason,
        detail=detail,
    )


def _text(ad: Mapping[str, Any], name: str) -> str | None:
    value = ad.get(name)
    return value if isinstance(value, str) else None


def _executed(ad: Mapping[str, Any]) -> bool:
    # NumJobStarts reaches the queue minutes late; the other one when the program starts.
    return bool(ad.get("NumJobStarts") or ad.get("JobCurrentStartExecutingDate"))


def _state(ad: Mapping[str, Any]) -> JobState:
    status = ad.get("JobStatus")
    if status == IDLE:
        # Nothing of ours lets it run twice; the access point removes it.
        return JobState.ENDED if _executed(ad) else JobState.QUEUED
    if status == RUNNING:
        return JobState.RUNNING if _executed(ad) else JobState.STARTING
    if status == REMOVED:
        # Stays in the queue until the node says that nothing of it is left.
        return JobState.EVICTING if ad.get("RemoteHost") else JobState.ENDED
    known = {
        COMPLETED: JobState.ENDED,
        HELD: JobState.HELD,
        TRANSFERRING: JobState.RUNNING,
        SUSPENDED: JobState.SUSPENDED,
    }
    return known.get(status, JobState.UNKNOWN) if isinstance(status, int) else JobState.UNKNOWN


def _place(ad: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return slot and node: ``notebook3@ep1.example.org``; a local name stands in between."""
    place = _text(ad, "RemoteHost")
    if place is None:
        return None, None
    return place, place.rpartition("@")[2] or None


def _reason(ad: Mapping[str, Any], state: JobState) -> tuple[str, str]:
    status = ad.get("JobStatus")
    if status == REMOVED:
        said = _text(ad, "RemoveReason") or ""
        return next((words for part, words in _REMOVALS if part in said), ""), said
    if status == COMPLETED:
        return _exit(ad)
    if state is JobState.HELD:
        return _hold(ad)
    if state is JobState.ENDED:
        return _eviction(ad)
    return {
        JobState.SUSPENDED: ("The node has paused the notebook.", ""),
        JobState.UNKNOWN: ("", f"JobStatus {status!r} has no name here"),
    }.get(state, ("", ""))


def _eviction(ad: Mapping[str, Any]) -> tuple[str, str]:
    code, said = ad.get("VacateReasonCode"), _text(ad, "VacateReason") or "no reason given"
    words = _VACATES.get(code, "") if isinstance(code, int) else ""
    return f"{_EVICTED} {words}".strip(), f"{said} (code {code})"


def _hold(ad: Mapping[str, Any]) -> tuple[str, str]:
    code, sub = ad.get("HoldReasonCode"), ad.get("HoldReasonSubCode")
    said = _text(ad, "HoldReason") or ""
    words = _HOLDS.get(code, "The job was put on hold.") if isinstance(code, int) else ""
    resources = code in (21, 26, 34)
    # Under cgroup v1 HTCondor 23.9 gives no subcode, but says it.
    if resources and (sub == _OUT_OF_MEMORY or (sub == 0 and "memory limit" in said)):
        limit = ad.get("MemoryProvisioned")
        words = "The notebook used more memory than its slot has"
        words += f" ({limit} MiB)." if isinstance(limit, int) else "."
    elif resources and sub == _OUT_OF_DISK:
        words = "The notebook used more disk than its slot has."
    return words or "The job was put on hold.", f"{said} (code {code}, subcode {sub})"


def _exit(ad: Mapping[str, Any]) -> tuple[str, str]:
    if ad.get("ExitBySignal") is True:
        number = ad.get("ExitSignal")
        return f"The notebook's program was ended by signal {number}.", ""
    code = ad.get("ExitCode")
    if code in (0, None):
        return "", ""
    return f"The notebook's program ended with status {code}.", ""
