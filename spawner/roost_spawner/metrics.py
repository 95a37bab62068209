"""What the spawner counts for Prometheus.  No user, session or token is named in any of it.

They show on the hub's own ``/hub/metrics``, which serves the default registry.  Names and labels:
``docs/reference/metrics.md``.  What is looked up when somebody asks is in
:mod:`roost_spawner.gauges`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from roost_spawner.clusters.base import Cause
from roost_spawner.starts import REASONS, GivenUp, Outcome, Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roost_spawner.record import Record
    from roost_spawner.starts import Start

DELIVERY = Histogram(
    "roost_token_delivery_seconds",
    "Seconds from the issue of a renewed access token until a session's agent was given it",
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200),
)
_SECONDS = (0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
STARTS = Counter(
    "roost_starts",
    "Starts that are over: ready, failed, cancelled by their user, or moved to another profile",
    ["profile", "cluster", "outcome", "reason"],
)
START_SECONDS = Histogram(
    "roost_start_seconds",
    "Seconds from the click until the server was ready, of starts that became ready",
    ["profile", "cluster"],
    buckets=_SECONDS,
)
START_PHASE_SECONDS = Histogram(
    "roost_start_phase_seconds",
    "Seconds of each part of such a start: submit, queue, server",
    ["profile", "cluster", "phase"],
    buckets=_SECONDS,
)
ENDS = Counter(
    "roost_session_ends",
    "Sessions that had been ready and have ended, by cause",
    ["profile", "cluster", "cause"],
)
OVERFLOWS = Counter(
    "roost_overflows",
    "Starts that were given to the next profile of `overflow`",
    ["profile", "to"],
)
CAUSES: tuple[str, ...] = (*Cause, GivenUp.STOPPED)
"""Why a session that had been ready can have ended."""


def count_start(start: Start) -> None:
    """Count a start that is over."""
    place = (start.profile, start.cluster)
    STARTS.labels(*place, start.outcome, start.reason).inc()
    if start.outcome is not Outcome.READY:
        return
    if start.total is not None:
        START_SECONDS.labels(*place).observe(start.total)
    for phase, seconds in start.phases.items():
        START_PHASE_SECONDS.labels(*place, phase).observe(seconds)


def end_cause(record: Record, given_up: GivenUp | None) -> str:
    """Return why a session that had been ready has ended, one of :data:`CAUSES`."""
    return str(GivenUp.STOPPED if given_up is not None else record.cause or Cause.UNKNOWN)


def expect(profiles: Mapping[str, str], overflows: Mapping[str, tuple[str, ...]]) -> None:
    """Show everything that can be counted from the beginning, so that a rate has a first value.

    Parameters
    ----------
    profiles
        The cluster of each profile.
    overflows
        The profiles that each one's starts may be given to.
    """
    for profile, cluster in profiles.items():
        place = (profile, cluster)
        STARTS.labels(*place, Outcome.READY, "")
        STARTS.labels(*place, Outcome.CANCELLED, GivenUp.STOPPED)
        for reason in REASONS:
            if reason not in {GivenUp.STOPPED, GivenUp.OVERFLOW}:
                STARTS.labels(*place, Outcome.FAILED, reason)
        START_SECONDS.labels(*place)
        for phase in Phase:
            START_PHASE_SECONDS.labels(*place, phase)
        for cause in CAUSES:
            ENDS.labels(*place, cause)
        STARTS.labels(*place, Outcome.MOVED, GivenUp.OVERFLOW)
        for other in overflows.get(profile, ()):
            OVERFLOWS.labels(profile, other)
