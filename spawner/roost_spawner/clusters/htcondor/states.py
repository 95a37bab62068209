"""From a job's ad to what the hub makes of it.  Pure.

JobStatus is that of the HTCondor manual, appendix "Job ClassAd Attributes".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.base import Cause, JobState, JobView
from roost_spawner.clusters.htcondor import codes

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
    "JobCurrentStartDate",
    "NumJobStarts",
    "NumShadowStarts",
    "JobDisconnectedDate",
    "LastRemoteHost",
    "HoldReason",
    "HoldReasonCode",
    "HoldReasonSubCode",
    "LastHoldReason",
    "LastHoldReasonCode",
    "LastHoldReasonSubCode",
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

_LATEST = 1 << 33
"""Seconds since the epoch, in the year 2242: no time of a job is later."""
_NO_AGENT = 75
"""EX_TEMPFAIL of sysexits(3), as the bootstrap ends."""
IDLE, RUNNING, REMOVED, COMPLETED, HELD, TRANSFERRING, SUSPENDED = range(1, 8)
_FAILED_STARTS = 2
"""Starts that came to nothing after which a node is held to be unable: one may be chance."""
_BY = re.compile(r" \(by user ([^)@\s]+)\)$")
_STOPPED = "stopped in JupyterHub"
_BARE = re.compile(
    r"via condor_|Python-initiated action"
    r"|The (?:system macro|job attribute) .* expression .* evaluated"
)
"""What HTCondor writes itself where no reason was given."""
_QUOTED = 200
"""Characters of a decider's own words that a user is shown."""

Told = tuple[Cause | None, str, str]
"""Cause, sentence for the user, detail for the log."""


def job_id(ad: Mapping[str, Any]) -> str:
    """Return ``"<cluster>.<proc>"``."""
    return f"{ad['ClusterId']}.{ad['ProcId']}"


def view(ad: Mapping[str, Any]) -> JobView:
    """Return one job as its ad shows it."""
    state = _state(ad)
    cause, reason, detail = _told(ad, state)
    slot, node = _place(ad)
    if failed_on := _failed_on(ad, node):
        state, slot, node = JobState.QUEUED, None, None
        reason = ""  # whoever tries another node says so
    began, limit = _number(ad, "JobCurrentStartDate"), _number(ad, "RoostWalltime")
    live = state in {JobState.STARTING, JobState.RUNNING, JobState.SUSPENDED}
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
        cause=cause,
        started_at=_number(ad, "JobCurrentStartExecutingDate"),
        ends_at=began + limit if live and began and limit else None,
        failed_on=failed_on,
        walltime_s=limit,
    )


def _text(ad: Mapping[str, Any], name: str) -> str | None:
    value = ad.get(name)
    return value if isinstance(value, str) else None


def _number(ad: Mapping[str, Any], name: str) -> float | None:
    value = ad.get(name)
    return float(value) if isinstance(value, int) and 0 < value < _LATEST else None


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


def _failed_on(ad: Mapping[str, Any], node: str | None) -> str:
    """Return the node whose starter has ended before the job's program ran; empty if none has.

    HTCondor 23.9 puts such a job back and tries again each second, often at the same node.  If the
    node gives up the claim before the shadow does, the shadow waits until the job's lease is over
    and hears no signal meanwhile, while the job is said to run.
    """
    status = ad.get("JobStatus")
    if _executed(ad):
        return ""
    if status == IDLE and (_number(ad, "NumShadowStarts") or 0) >= _FAILED_STARTS:
        return (_text(ad, "LastRemoteHost") or "").rpartition("@")[2]
    lost, began = (
        _number(ad, name) or 0 for name in ("JobDisconnectedDate", "JobCurrentStartDate")
    )
    stuck = status == RUNNING and lost and lost >= began
    return node or "" if stuck else ""


def _place(ad: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return slot and node: ``notebook3@ep1.example.org``; a local name stands in between."""
    place = _text(ad, "RemoteHost")
    if place is None:
        return None, None
    return place, place.rpartition("@")[2] or None


def _told(ad: Mapping[str, Any], state: JobState) -> Told:
    status = ad.get("JobStatus")
    if status == REMOVED:
        return _removal(ad)
    if status == COMPLETED:
        return _exit(ad)
    if state is JobState.HELD:
        return _hold(ad)
    if state is JobState.ENDED:
        return _eviction(ad)
    words = "The node has paused the notebook." if state is JobState.SUSPENDED else ""
    unknown = (
        f"JobStatus {str(status)[:40]!r} has no name here" if state is JobState.UNKNOWN else ""
    )
    return None, words, unknown


def _removal(ad: Mapping[str, Any]) -> Told:
    said = _text(ad, "RemoveReason") or ""
    # The access point that we ship removes what was evicted or held: what came first counts.
    if said.startswith("Roost: evicted"):
        return _eviction(ad)
    if said.startswith("Roost: held"):
        names = ("HoldReason", "HoldReasonCode", "HoldReasonSubCode")
        return _hold({**ad, **{name: ad.get(f"Last{name}") for name in names}})
    cause, words = next(
        (told for part, told in codes.REMOVALS if part in said), (Cause.REMOVED, "")
    )
    by = _BY.search(said)
    if by is not None and by[1] != ad.get("Owner"):
        words = _with(f"An admin ({by[1]}) has removed the job", said)
    elif by is not None and _STOPPED not in said:
        words = _with("The job was removed on your own behalf, outside JupyterHub", said)
    elif by is None and said and not words:
        words = _with("The access point has removed the job", said)
    return cause, words, said


def _with(words: str, said: str) -> str:
    """Return a sentence with what its decider has said, if that was more than the tool's own."""
    given = " ".join(_BY.sub("", said).split())
    if not given or _BARE.match(given):
        return f"{words}."
    short = given if len(given) <= _QUOTED else f"{given[: _QUOTED - 1]}…"
    return f'{words}: "{short}".'


def _eviction(ad: Mapping[str, Any]) -> Told:
    code, said = ad.get("VacateReasonCode"), _text(ad, "VacateReason") or "no reason given"
    cause, words = codes.VACATES.get(code if isinstance(code, int) else 0, (Cause.EVICTED, ""))
    if cause is Cause.EVICTED:
        words = f"{codes.EVICTED} {words}".strip()
    return cause, words, f"{said} (code {code})"


def _hold(ad: Mapping[str, Any]) -> Told:
    code, sub = ad.get("HoldReasonCode"), ad.get("HoldReasonSubCode")
    said = _text(ad, "HoldReason") or ""
    cause, words = codes.HOLDS.get(
        code if isinstance(code, int) else 0, (Cause.HELD, "The job was put on hold.")
    )
    if codes.OVERSTAYED[0] in said:
        return *codes.OVERSTAYED[1], f"{said} (code {code}, subcode {sub})"
    resources = code in codes.RESOURCE_HOLDS
    # Under cgroup v1 HTCondor 23.9 gives no subcode, but says it.
    if resources and (sub == codes.OUT_OF_MEMORY or (sub == 0 and "memory limit" in said)):
        limit = ad.get("MemoryProvisioned")
        cause, words = Cause.OUT_OF_MEMORY, "The notebook used more memory than its slot has"
        words += f" ({limit} MiB)." if isinstance(limit, int) else "."
    elif resources and sub == codes.OUT_OF_DISK:
        cause, words = Cause.OUT_OF_DISK, "The notebook used more disk than its slot has."
    elif code == codes.BY_HAND and (by := _BY.search(said)):
        who = "You" if by[1] == ad.get("Owner") else f"An admin ({by[1]})"
        words = _with(f"{who} put the notebook's job on hold", said)
    elif code in codes.POLICY_HOLDS:
        words = _with(words.rstrip("."), said)
    return cause, words, f"{said} (code {code}, subcode {sub})"


def _exit(ad: Mapping[str, Any]) -> Told:
    if ad.get("ExitBySignal") is True:
        number = ad.get("ExitSignal")
        return Cause.FAILED, f"The notebook's program was ended by signal {number}.", ""
    code = ad.get("ExitCode")
    if code in (0, None):
        return Cause.FINISHED, "", ""
    if code == _NO_AGENT:
        return Cause.FAILED, "The node could not load the session's agent from the hub.", ""
    return Cause.FAILED, f"The notebook's program ended with status {code}.", ""
