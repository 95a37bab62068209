"""What Slurm says about a job, in the words that all clusters share.  Pure.

The states are all those of ``enum job_states`` and of the ``JOB_*`` flags beside it in ``slurm.h``,
by the names that slurmrestd's data parsers give them: v0.0.42 in Slurm 24.11.5, v0.0.42 to v0.0.45
in 26.05.3 (``PARSER_FLAG_ARRAY(JOB_STATE)``; EXPEDITING came with v0.0.44).  A state without a name
here is UNKNOWN, never dead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.base import Cause, JobState, JobView
from roost_spawner.clusters.slurm import endings, reasons

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIVE = frozenset(("PENDING", "RUNNING", "SUSPENDED"))
FINAL = frozenset(
    (
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "TIMEOUT",
    )
)
# Flags stand beside a base state.
_LEAVING = frozenset(("COMPLETING", "STAGE_OUT"))
_HELD = frozenset(("REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"))
_NOT_UP_YET = frozenset(("CONFIGURING", "POWER_UP_NODE"))
_REQUEUED = frozenset(("EXPEDITING", "REQUEUED", "REQUEUE_FED"))
_HARMLESS = frozenset(("LAUNCH_FAILED", "RECONFIG_FAIL", "RESIZING", "REVOKED", "SIGNALING"))

_LIVING = {
    JobState.STARTING: "The node is being prepared.",
    JobState.SUSPENDED: "Slurm has suspended the job.",
}
_REQUEUED_SENTENCE = "The job was put back into the queue; a notebook does not start a second time."


def view(record: Mapping[str, Any]) -> JobView:
    """Turn one job of the broker's answer into a view.

    Parameters
    ----------
    record
        As ``GET /v1/jobs`` shows it.
    """
    words = frozenset(str(word) for word in record.get("state") or ())
    state = _state(words, record)
    return JobView(
        job_id=str(record["job_id"]),
        state=state,
        mark=record.get("comment") or None,
        owner=record.get("user") or None,
        node=record.get("node") or None,
        slot=record.get("partition") or None,
        reason=sentence(state, words, record),
        detail=detail(record),
        cause=_cause(state, words, record),
        started_at=_began(state, record),
        ends_at=_ends(state, record),
    )


def _began(state: JobState, record: Mapping[str, Any]) -> float | None:
    # Of a job that waits, Slurm says when it means to start it.
    start = record.get("start")
    return float(start) if start and state not in (JobState.QUEUED, JobState.HELD) else None


def _ends(state: JobState, record: Mapping[str, Any]) -> float | None:
    # Slurm moves the end when a job was suspended, its limit changed, or its place is taken back.
    end = record.get("end")
    live = state in (JobState.RUNNING, JobState.SUSPENDED, JobState.STARTING)
    return float(end) if live and end and record.get("limit") else None


def _cause(state: JobState, words: frozenset[str], record: Mapping[str, Any]) -> Cause | None:
    """Return why a job ended or is being ended; None for one that just lives."""
    if state is JobState.HELD:
        return _held(record)[0]
    if state not in (JobState.ENDED, JobState.EVICTING):
        return None
    named = endings.cause(words)
    requeued = words & (_REQUEUED | _HELD)
    return Cause.EVICTED if requeued and named in (Cause.UNKNOWN, Cause.FINISHED) else named


def _state(words: frozenset[str], record: Mapping[str, Any]) -> JobState:
    state = state_of(words, str(record.get("reason") or ""))
    again = record.get("restarts") and words & _LIVE and state is not JobState.UNKNOWN
    # An admin's doing: we submit what is not requeued.  A session never starts a second time.
    return JobState.HELD if again else state


def state_of(words: frozenset[str], reason: str = "") -> JobState:
    """Return the state that a base state and its flags amount to."""
    base = next(iter(words & (_LIVE | FINAL)), None)
    if base is None or len(words & (_LIVE | FINAL)) > 1:
        return JobState.UNKNOWN
    flags = words - {base}
    return _final_state(flags) if base in FINAL else _live_state(base, flags, reason)


def _final_state(flags: frozenset[str]) -> JobState:
    gone_soon = _LEAVING | _REQUEUED | _HELD
    if flags - gone_soon - _HARMLESS:
        return JobState.UNKNOWN
    # Slurm still ends its processes, or means to run it again: not gone yet.
    return JobState.EVICTING if flags & gone_soon else JobState.ENDED


def _live_state(base: str, flags: frozenset[str], reason: str) -> JobState:
    """Take a job that lives, whatever flags without a name it has besides."""
    if base == "PENDING":
        held = bool(flags & _HELD) or reason in reasons.HELD
        return JobState.HELD if held else JobState.QUEUED
    if flags & _LEAVING:
        return JobState.EVICTING
    if base == "SUSPENDED" or "STOPPED" in flags:
        return JobState.SUSPENDED
    return JobState.STARTING if flags & _NOT_UP_YET else JobState.RUNNING


def sentence(state: JobState, words: frozenset[str], record: Mapping[str, Any]) -> str:
    """Say in plain words why a job waits or ended; empty if there is nothing to say."""
    match state:
        case JobState.QUEUED:
            return _waiting(record)
        case JobState.HELD:
            return _held(record)[1]
        case JobState.UNKNOWN:
            return f"Slurm reports the state {'+'.join(sorted(words)) or 'nothing'}."
        case JobState.ENDED | JobState.EVICTING:
            return endings.sentence(words, record)
        case _:
            return _LIVING.get(state, "")


def _held(record: Mapping[str, Any]) -> tuple[Cause, str]:
    """Return why a job is held, or must be taken for held since it has run before."""
    reason, description = str(record.get("reason") or ""), str(record.get("description") or "")
    if reasons.launch_failed(description):
        return Cause.FAILED, _waiting(record)
    # A launch that failed early counts as a restart, too, and leaves nothing but the hold.
    if record.get("restarts") and (description or reason not in reasons.HELD):
        return Cause.EVICTED, _REQUEUED_SENTENCE
    return Cause.HELD, _waiting(record)


def _waiting(record: Mapping[str, Any]) -> str:
    return reasons.sentence(str(record.get("reason") or ""), str(record.get("description") or ""))


def explanation(record: Mapping[str, Any], now: float) -> list[str]:
    """Say why a job does not start yet, how many come first, and when Slurm means to start it.

    Parameters
    ----------
    record
        As ``GET /v1/jobs/{id}`` shows it.
    now
        Seconds since the epoch.
    """
    words = frozenset(str(word) for word in record.get("state") or ())
    if _state(words, record) is not JobState.QUEUED:
        return []
    found = [_waiting(record)]
    number = record.get("ahead")
    if number:
        found.append(f"{number} job{'' if number == 1 else 's'} ahead of yours in its partition.")
    start = record.get("start")
    if start and start > now:
        minutes = -(-int(start - now) // 60)
        plural = "" if minutes == 1 else "s"
        found.append(f"Slurm means to start it in about {minutes} minute{plural}.")
    return [sentence for sentence in found if sentence]


def detail(record: Mapping[str, Any]) -> str:
    """Return the same in Slurm's own words."""
    parts = ["+".join(str(word) for word in record.get("state") or ()) or "no state"]
    for name in ("reason", "description"):
        value = record.get(name)
        if value and value != "None" and value not in parts:
            parts.append(str(value))
    numbers = ("exit_code", "signal")
    parts.extend(f"{name} {record[name]}" for name in numbers if record.get(name))
    return ", ".join(parts)
