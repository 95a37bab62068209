"""From counts and stalls to figures.  Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Calls that tell the scheduler something, and calls that never reach it, are no questions.
_NO_QUESTIONS = frozenset(
    ("htcondor submit", "htcondor remove", "htcondor nothing", "slurm POST", "slurm DELETE")
)


def asked_per_minute(
    before: Mapping[str, int], after: Mapping[str, int], seconds: float
) -> dict[str, float]:
    """Return how often each cluster was asked something, per minute.

    Parameters
    ----------
    before, after
        Counts by ``<cluster> <call>``.
    seconds
        Between the two.
    """
    found: dict[str, float] = {}
    for call, count in after.items():
        if call not in _NO_QUESTIONS:
            cluster = call.partition(" ")[0]
            found[cluster] = found.get(cluster, 0.0) + count - before.get(call, 0)
    return {cluster: round(60 * count / seconds, 2) for cluster, count in found.items()}


def results(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures that have a target, from what was measured.

    The keys name what the targets are set for; what was measured says how many there were.
    """
    figures: dict[str, Any] = {}
    if "roost" in found:
        noop, roost = found["noop"], found["roost"]
        sessions = roost["sessions"]
        starting = max(roost["asked_per_minute_starting"].values())
        cpu = round(roost["cpu_percent"] - noop["cpu_percent"], 2)
        memory = round(roost["kib_per_session"] - noop["kib_per_session"], 1)
        figures = {
            f"queries_per_minute_{sessions}_sessions": max(roost["asked_per_minute"].values()),
            f"queries_per_minute_{sessions}_sessions_starting": starting,
            f"hub_cpu_percent_{sessions}_sessions": cpu,
            "memory_kib_per_session": memory,
            "memory_kib_per_session_with_jupyterhubs": roost["kib_per_session"],
        }
    if "stalls" in found:
        stalls, crowd = found["stalls"], found["size"]
        ratio = median(stalls["roost"]["stall_ms"]) / median(stalls["noop"]["stall_ms"])
        figures[f"loop_stall_vs_noop_{crowd}_spawns"] = round(ratio, 3)
    if "batchspawner_lost" in found:
        figures[f"batchspawner_lost_of_{crowd}_spawns"] = found["batchspawner_lost"]
    if "batchspawner_stall_ms" in found:
        figures[f"batchspawner_stall_ms_{crowd}_spawns"] = median(found["batchspawner_stall_ms"])
    peer = found.get("batchspawner")
    if peer:
        at = peer["sessions"]
        figures |= {
            f"batchspawner_queries_per_minute_{at}_sessions": max(
                peer["asked_per_minute"].values()
            ),
            f"batchspawner_hub_cpu_percent_{at}_sessions": peer["cpu_percent"],
            "batchspawner_memory_kib_per_session_with_jupyterhubs": peer["kib_per_session"],
        }
    return figures


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as lines for people."""
    width = max(map(len, figures))
    return "\n".join(f"{key:{width}}  {value:8}" for key, value in figures.items())
