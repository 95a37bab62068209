"""From runs to figures.  Pure."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from testbed.demo.person import Ready

RATIOS = {
    "spawn_htcondor_vs_local": ("roost-htcondor", "local"),
    "spawn_htcondor_vs_local_server_up": ("roost-htcondor", "local-up"),
    "spawn_htcondor_vs_batchspawner": ("roost-htcondor", "condor-nb"),
    "spawn_htcondor_vs_batchspawner_default_cycle": ("roost-htcondor", "condor-default"),
    "spawn_slurm_vs_local": ("roost-slurm", "local"),
    "spawn_slurm_vs_local_server_up": ("roost-slurm", "local-up"),
}


def results(runs: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return what is written to ``results.json``: ratios of medians, and the runs themselves.

    Parameters
    ----------
    runs
        Seconds from click to ready, by side.
    """
    found: dict[str, Any] = {
        key: round(median(runs[ours]) / median(runs[theirs]), 3)
        for key, (ours, theirs) in RATIOS.items()
        if runs.get(ours) and runs.get(theirs)
    }
    return found | {
        "runs_seconds": {name: [round(s, 3) for s in seconds] for name, seconds in runs.items()},
    }


# What the pending page says as each phase ends.
_ENDS = {
    "submit": "is in the queue of",
    "match, start of the job": "Your job runs on",
    "proof": "has proved itself",
    "server starts": "The server answers",
}


def phases_of(starts: Iterable[tuple[Ready, float]]) -> dict[str, float]:
    """Return the median seconds of each phase from the click to the first answer.

    Parameters
    ----------
    starts
        What each start said and when, and the seconds until its first answer.
    """
    found: dict[str, list[float]] = {}
    for ready, answered in starts:
        begun = 0.0
        for phase, words in _ENDS.items():
            ends = [
                at for said, at in zip(ready.messages, ready.said_at, strict=True) if words in said
            ]
            if ends and ends[0] >= begun:
                found.setdefault(phase, []).append(ends[0] - begun)
                begun = ends[0]
        found.setdefault("the hub checks it and sets the route", []).append(ready.seconds - begun)
        found.setdefault("first answer", []).append(answered - ready.seconds)
    return {phase: round(median(seconds), 3) for phase, seconds in found.items()}


def phases(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return the phases as a table for people."""
    names = list(dict.fromkeys(name for side in found.values() for name in side))
    width = max(map(len, names))
    lines = [f"{'phase, median s':{width}}  " + "  ".join(f"{side:>14}" for side in found)]
    for name in names:
        row = "  ".join(
            f"{side[name]:14.3f}" if name in side else " " * 14 for side in found.values()
        )
        lines.append(f"{name:{width}}  {row}")
    return "\n".join(lines)


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
