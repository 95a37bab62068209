"""From what viewers saw to figures.  Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that `part` of all do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def spread(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return how long something took."""
    parts = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    found = {name: round(percentile(milliseconds, part), 1) for name, part in parts.items()}
    return {"count": len(milliseconds)} | found


def results(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures that have a target: the name says how many looked.

    Parameters
    ----------
    found
        ``viewers``, ``load_ms`` and ``asked_per_minute`` (by how many looked) of the measurement.
    """
    viewers = found["viewers"]
    asked = found["asked_per_minute"]
    return {
        f"spawn_page_p99_ms_{viewers}_viewers": found["load_ms"]["p99"],
        f"spawn_page_queries_per_minute_{viewers}_viewers": max(asked[str(viewers)].values()),
        "spawn_page_queries_per_minute_1_viewer": max(asked["1"].values()),
    }
