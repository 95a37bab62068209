"""How a job of Slurm's ended: the cause and a sentence for its owner.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.base import Cause
from roost_spawner.clusters.slurm import reasons

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEVER_RAN = frozenset(
    ("AccountingPolicy", "BadConstraints", "DeadLine", "JobLaunchFailure", "SystemFailure")
)
"""Reasons of a failed job whose program was never started."""

_CANCELLED = "The job was cancelled by an administrator, or with scancel."

_KILLED = 9
_NO_IO = 53
"""ESLURMD_IO_ERROR (4021) in the low bits of a wait status: the job's files or devices could not be
set up on the node (seen with 24.11.5)."""
_QUICK = 2
"""Seconds.  A job whose prolog fails, and that must not be requeued, is cancelled by its node; a
session takes longer to be ready."""

_EXIT_CANNOT_EXECUTE = 126  # POSIX shell, section 2.8.2
_EXIT_NOT_FOUND = 127
_EXIT_NO_AGENT = 75  # EX_TEMPFAIL of sysexits(3), as the bootstrap ends

_ENDINGS: tuple[tuple[str, Cause, str], ...] = (
    ("TIMEOUT", Cause.WALLTIME, "The time limit{after} was reached."),
    ("NODE_FAIL", Cause.NODE_LOST, "{node} failed."),
    ("BOOT_FAIL", Cause.NODE_LOST, "{node} failed."),
    (
        "OUT_OF_MEMORY",
        Cause.OUT_OF_MEMORY,
        "The session used more memory than it had asked for{memory}.",
    ),
    ("PREEMPTED", Cause.EVICTED, "{node} was needed for a job that comes first."),
    ("DEADLINE", Cause.WALLTIME, "The job's deadline has passed."),
    ("CANCELLED", Cause.REMOVED, "The job was cancelled."),
    ("FAILED", Cause.FAILED, ""),
    ("COMPLETED", Cause.FINISHED, "The server has ended."),
)


def cause(words: frozenset[str]) -> Cause:
    """Return the cause that a state and its flags name."""
    return next((cause for word, cause, _ in _ENDINGS if word in words), Cause.UNKNOWN)


def sentence(words: frozenset[str], record: Mapping[str, Any]) -> str:
    """Say why a job ended or is being ended."""
    if "FAILED" in words:
        return _failure(record)
    if "CANCELLED" in words and record.get("by_owner") is not None:
        return "" if record["by_owner"] else _by_others(words, record)
    node, limit = record.get("node"), record.get("limit")
    memory = record.get("memory_mib")
    for word, _, template in _ENDINGS:
        if word in words:
            return template.format(
                node=f"The node {node}" if node else "The node",
                after=f" of {limit} minute{'' if limit == 1 else 's'}" if limit else "",
                memory=f" ({memory} MiB)" if memory else "",
            )
    return "The job is being ended."


def _by_others(words: frozenset[str], record: Mapping[str, Any]) -> str:
    node, start, end = (record.get(name) for name in ("node", "start", "end"))
    silent = not record.get("signal") and not record.get("exit_code")
    if words == {"CANCELLED"} and silent and node and start and end and end - start < _QUICK:
        return f"{node} could not start the job, or somebody cancelled it at once."
    return _CANCELLED


def _failure(record: Mapping[str, Any]) -> str:
    reason = str(record.get("reason") or "")
    if reason in _NEVER_RAN:
        return reasons.sentence(reason)
    number, code = record.get("signal"), record.get("exit_code")
    if number:
        return _by_signal(number, record)
    node = record.get("node")
    if code in (_EXIT_CANNOT_EXECUTE, _EXIT_NOT_FOUND):
        return f"The profile's Python is not there, or cannot run, on {node or 'the node'}."
    if code == _EXIT_NO_AGENT:
        return f"{node or 'The node'} could not load the session's agent from the hub."
    return "The job failed." if code is None else f"The job failed with exit status {code}."


def _by_signal(number: int, record: Mapping[str, Any]) -> str:
    if number == _NO_IO:
        return f"{record.get('node') or 'The node'} could not start the job."
    if number == _KILLED:
        memory = record.get("memory_mib")
        limit = f" ({memory} MiB)" if memory else ""
        return (
            f"The node killed the job; it may have used more memory than it had asked for{limit}."
        )
    return f"The job was ended by signal {number}."
