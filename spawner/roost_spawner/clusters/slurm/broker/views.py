"""What of Slurm's answers goes out: a few fields of jobs that are ours, and what is free.

Pure.  Field names are those of slurmrestd's data parsers v0.0.42 (Slurm 24.11.5) to v0.0.45
(26.05.3), which are alike here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.slurm.broker.wishes import JOB_NAME
from roost_spawner.clusters.slurm.states import FINAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_GPUS = re.compile(r"gpu(?::[^:,()]+)?:(\d+)")
_UNUSABLE = frozenset(
    (
        "BLOCKED",
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
        "POWERED_DOWN",
        "POWERING_DOWN",
        "POWER_DOWN",
        "POWER_DOWN_ASAP",
        "POWER_DOWN_FORCE",
        "POWER_DRAIN",
        "REBOOT_ISSUED",
        "RESERVED",
        "UNKNOWN",
    )
)
"""Node states and flags with which no new job is started at once: those of ``NODE_STATE_*`` in
``slurm.h`` by the names of slurmrestd's data parsers, 24.11.5 and 26.05.3."""


def mark_of(raw: Mapping[str, Any]) -> str | None:
    """Return the session mark of a job that a broker submitted, or None for any other job."""
    comment = raw.get("comment")
    if raw.get("name") != JOB_NAME or not isinstance(comment, str) or "/" not in comment:
        return None
    return comment


def finished(raw: Mapping[str, Any]) -> bool:
    """Whether there is nothing left to cancel: the job has ended, or is being ended."""
    return bool(FINAL.intersection(raw.get("job_state") or ()))


def job(
    raw: Mapping[str, Any], *, node_domain: str = "", by_owner: bool | None = None
) -> dict[str, Any]:
    """Return what goes out about one job.

    Parameters
    ----------
    raw
        As slurmrestd shows it.
    node_domain
        See :func:`node_name`.
    by_owner
        Whether its owner had it cancelled; None if nobody has or that is not known.
    """
    exit_code = raw.get("exit_code") or {}
    return {
        "job_id": str(raw["job_id"]),
        "state": [str(word) for word in raw.get("job_state") or ()],
        "reason": _text(raw, "state_reason"),
        "description": _text(raw, "state_description"),
        "user": _text(raw, "user_name"),
        "comment": _text(raw, "comment"),
        "partition": _text(raw, "partition"),
        "node": node_name(_text(raw, "batch_host") or _text(raw, "nodes"), node_domain),
        "gpus": gpus_of(",".join(str(item) for item in raw.get("gres_detail") or ())),
        "exit_code": number(exit_code.get("return_code")),
        "signal": number((exit_code.get("signal") or {}).get("id")),
        "start": number(raw.get("start_time")) or None,
        "end": number(raw.get("end_time")) or None,
        "limit": number(raw.get("time_limit")),
        "memory_mib": number(raw.get("memory_per_node")),
        "restarts": number(raw.get("restart_cnt")) or 0,
        "by_owner": by_owner,
    }


def ahead(raw: Mapping[str, Any], jobs: Iterable[Mapping[str, Any]]) -> int:
    """Count the jobs that wait for the same partition and come first, by Slurm's priority.

    Those that are held have the priority 0; a job can wait for several partitions (``gpu,cpu``).
    """
    wanted = _partitions(raw)

    def rank(job: Mapping[str, Any]) -> tuple[int, int]:
        return -(number(job.get("priority")) or 0), int(job["job_id"])

    return sum(
        "PENDING" in (other.get("job_state") or ())
        and number(other.get("priority")) != 0
        and not wanted.isdisjoint(_partitions(other))
        and rank(other) < rank(raw)
        for other in jobs
    )


def _partitions(raw: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(_text(raw, "partition").split(","))


def node_name(name: str, domain: str) -> str | None:
    """Return the node's name as others can reach it."""
    if not name or not domain or "." in name:
        return name or None
    return f"{name}.{domain.strip('.')}"


def number(value: object) -> int | None:
    """Read a number that may be unset or infinite (``{"set", "infinite", "number"}``)."""
    if isinstance(value, dict):
        if not value.get("set") or value.get("infinite"):
            return None
        value = value.get("number")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def gpus_of(gres: str) -> int:
    """Count the GPUs in a list of generic resources, as ``gpu:a100:2(S:0),shard:8``."""
    return sum(int(found) for found in _GPUS.findall(gres))


def capacity(
    nodes: Iterable[Mapping[str, Any]], *, partitions: Iterable[str]
) -> dict[str, dict[str, int]]:
    """Sum CPUs and GPUs, and what is free of them, by partition."""
    pools = {
        name: dict.fromkeys(
            (
                "cpus_total",
                "cpus_free",
                "gpus_total",
                "gpus_free",
                "largest_cpus",
                "largest_memory_mib",
                "largest_gpus",
            ),
            0,
        )
        for name in partitions
    }
    for node in nodes:
        usable = not _UNUSABLE.intersection(node.get("state") or ())
        cpus = number(node.get("effective_cpus")) or number(node.get("cpus")) or 0
        gpus = gpus_of(_text(node, "gres"))
        gpus_free = gpus - gpus_of(_text(node, "gres_used"))
        free = number(node.get("alloc_idle_cpus")) or 0
        for name in set(node.get("partitions") or ()) & pools.keys():
            pool = pools[name]
            pool["cpus_total"] += cpus
            pool["gpus_total"] += gpus
            pool["largest_cpus"] = max(pool["largest_cpus"], cpus)
            pool["largest_gpus"] = max(pool["largest_gpus"], gpus)
            memory = number(node.get("real_memory")) or 0
            pool["largest_memory_mib"] = max(pool["largest_memory_mib"], memory)
            if usable:
                pool["cpus_free"] += max(0, free)
                pool["gpus_free"] += max(0, gpus_free)
    return pools


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) else ""
