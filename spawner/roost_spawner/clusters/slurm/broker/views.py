"""What of Slurm's answers goes out: a few fields of jobs that are ours.

Pure.  Field names are those of slurmrestd's data parsers v0.0.42 (Slurm 24.11.5) to v0.0.45
(26.05.3), which are alike here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.foreign_text import on_one_line
from roost_spawner.clusters.slurm.states import FINAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_LONGEST = 2000
"""Characters of a text that go out."""
# slurm.conf(5), Gres: <name>[:<type>][:no_consume]:<number>.
_GPUS = re.compile(
    r"(?:^|,)gpu(?::(?!no_consume:)(?P<type>\(null\)|[^:,()]+))?(?::no_consume)?"
    r":(?P<count>\d{1,9})(?![^,(:])"
)


def finished(raw: Mapping[str, Any]) -> bool:
    """Whether there is nothing left to cancel: the job has ended, or is being ended."""
    return bool(FINAL.intersection(raw.get("job_state") or ()))


def job(
    raw: Mapping[str, Any], *, mark: str = "", node_domain: str = "", by_owner: bool | None = None
) -> dict[str, Any]:
    """Return what goes out about one job.

    Parameters
    ----------
    raw
        As slurmrestd shows it.
    mark
        The session's.
    node_domain
        See :func:`node_name`.
    by_owner
        Whether its owner had it cancelled; None if nobody has or that is not known.
    """
    exit_code = _mapping(raw.get("exit_code"))
    return {
        "job_id": str(raw["job_id"]),
        "state": [str(word) for word in raw.get("job_state") or ()],
        "reason": text(raw, "state_reason"),
        "description": text(raw, "state_description"),
        "user": text(raw, "user_name"),
        "comment": mark,
        "partition": text(raw, "partition"),
        "node": node_name(text(raw, "batch_host") or text(raw, "nodes"), node_domain),
        "gpus": sum(gpus_of(",".join(map(str, raw.get("gres_detail") or ()))).values()),
        "exit_code": number(exit_code.get("return_code")),
        "signal": number(_mapping(exit_code.get("signal")).get("id")),
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
    wanted = partitions_of(raw)

    def rank(job: Mapping[str, Any]) -> tuple[int, int]:
        return -(number(job.get("priority")) or 0), int(job["job_id"])

    return sum(
        "PENDING" in (other.get("job_state") or ())
        and number(other.get("priority")) != 0
        and not wanted.isdisjoint(partitions_of(other))
        and rank(other) < rank(raw)
        for other in jobs
    )


def partitions_of(raw: Mapping[str, Any]) -> frozenset[str]:
    """Return the partitions that a job may run in."""
    return frozenset(text(raw, "partition").split(","))


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


def gpus_of(gres: str) -> dict[str | None, int]:
    """Count the GPUs by type in a list of generic resources, as ``gpu:a100:2(S:0),shard:8``."""
    found: dict[str | None, int] = {}
    for match in _GPUS.finditer(gres):
        kind = None if match["type"] == "(null)" else match["type"]
        found[kind] = found.get(kind, 0) + int(match["count"])
    return found


def text(raw: Mapping[str, Any], name: str) -> str:
    """Return a field that is a text, on one line and not too long; empty if it is anything else."""
    value = raw.get(name)
    return on_one_line(value, _LONGEST) if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
