"""From runs to figures.  Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RATIOS = {
    "spawn_htcondor_vs_local": ("roost-htcondor", "local"),
    "spawn_htcondor_vs_local_server_up": ("roost-htcondor", "local-up"),
    "spawn_htcondor_vs_batchspawner": ("roost-htcondor", "condor-nb"),
    "spawn_htcondor_vs_batchspawner_default_cycle": ("roost-htcondor", "condor-default"),
    "spawn_slurm_vs_local": ("roost-slurm", "local"),
    "spawn_slurm_vs_local_server_up": ("roost-slurm", "local-up"),
}


def results(runs: Mapping[str, Sequence[float]], machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written to ``results.json``: ratios of medians, and the runs themselves.

    Parameters
    ----------
    runs
        Seconds from click to ready, by side.
    machine
        Where and on what it was measured.
    """
    found: dict[str, Any] = {
        key: round(median(runs[ours]) / median(runs[theirs]), 3)
        for key, (ours, theirs) in RATIOS.items()
        if runs.get(ours) and runs.get(theirs)
    }
    return found | {
        "machine": dict(machine),
        "runs_seconds": {name: [round(s, 3) for s in seconds] for name, seconds in runs.items()},
    }


def table(runs: Mapping[str, Sequence[float]]) -> str:
    """Return the runs as a table for people."""
    width = max(len(name) for name in runs)
    lines = [f"{'click to ready, s':{width}}  runs  median    min    max"]
    for name, seconds in runs.items():
        if seconds:
            figures = (median(seconds), min(seconds), max(seconds))
            shown = " ".join(f"{figure:6.2f}" for figure in figures)
            lines.append(f"{name:{width}}  {len(seconds):4d}  {shown}")
    return "\n".join(lines)


def ratios(found: Mapping[str, Any]) -> str:
    """Return the ratios as lines for people."""
    width = max(len(key) for key in RATIOS)
    return "\n".join(f"{key:{width}}  {found[key]:6.3f}" for key in RATIOS if key in found)
