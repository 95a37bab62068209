"""How starts went lately, in memory: how many, how long each part took, why some failed.  Pure.

A hub that is restarted begins anew: who shows these numbers says since when they are counted
(:attr:`Ledger.since`).  Prometheus keeps the history (:mod:`roost_spawner.metrics`).
"""

from __future__ import annotations

import enum
import math
import statistics
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from roost_spawner.clusters.base import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from roost_spawner.record import Record

WINDOW = 24 * 3600.0
"""Seconds for which a start is remembered."""
MOST = 5000
"""Starts of one profile that are remembered."""
RECENT = 50
"""Starts that say how long the next one will take: older ones tell of another load."""
SOUGHT = 200
"""Starts among which such are sought: asked for each card of each page."""
NOTICEABLE = 5.0
"""Seconds in the queue from which on somebody has waited: less is the scheduler's own cycle."""


class Outcome(enum.StrEnum):
    """What became of a start; a label for metrics."""

    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """By its user."""
    MOVED = "moved"
    """Another profile of the same choice's ``overflow`` became the server instead."""


class GivenUp(enum.StrEnum):
    """Why the hub gave a session up by itself; a label for metrics."""

    CHOICE = "choice"
    """What the user asked for is not allowed."""
    TOKEN = "token"  # noqa: S105 - a label
    """There was no access token for the cluster."""
    SITE = "site"
    """The site file has no such cluster any more."""
    SUBMIT = "submit"
    """The cluster did not take the job."""
    TIMEOUT = "timeout"
    """It was not ready within ``start_timeout``."""
    STOPPED = "stopped"
    """Its user, the culler or an admin stopped it."""
    OVERFLOW = "overflow"
    """Another profile became the server instead."""


REASONS: tuple[str, ...] = tuple(dict.fromkeys([*Cause, *GivenUp]))
"""Every reason that a start which did not become ready can have."""
_OUTCOMES = {GivenUp.STOPPED: Outcome.CANCELLED, GivenUp.OVERFLOW: Outcome.MOVED}


class Phase(enum.StrEnum):
    """A part of a start, between two times of the session's record; a label for metrics."""

    SUBMIT = "submit"
    """From the click until the scheduler had taken the job."""
    QUEUE = "queue"
    """Until the job's code ran."""
    SERVER = "server"
    """Until the server answered."""


@dataclass(frozen=True, slots=True)
class Start:
    """One start that is over, well or not."""

    profile: str
    cluster: str
    at: float
    """When it was ready or given up, in seconds since the epoch."""
    outcome: Outcome
    reason: str = ""
    """One of :data:`REASONS`; empty if it became ready."""
    phases: Mapping[Phase, float] = field(default_factory=dict)
    """Seconds of each part that it got through."""
    total: float | None = None
    """Seconds from the click until it was ready; None if it never was, or nobody knows."""


def start_of(record: Record, given_up: GivenUp | None, now: float) -> Start:
    """Return what a record says of its start, once it is ready or has ended.

    Parameters
    ----------
    record
        The session's.
    given_up
        Why the hub ended it, if it did: what the scheduler says then is only the echo of it.
    now
        Seconds since the epoch.
    """
    times = (record.asked_at, record.queued_at, record.began_at, record.ready_at)
    phases = {
        phase: max(0.0, end - begin)
        for phase, begin, end in zip(Phase, times, times[1:], strict=False)
        if begin and end
    }
    place = (record.profile, record.cluster)
    if record.ready_at:
        total = max(0.0, record.ready_at - record.asked_at) if record.asked_at else None
        return Start(*place, record.ready_at, Outcome.READY, "", phases, total)
    at = record.over_at or now
    if given_up is not None:
        outcome = _OUTCOMES.get(given_up, Outcome.FAILED)
        return Start(*place, at, outcome, str(given_up), phases)
    return Start(*place, at, Outcome.FAILED, record.cause or str(Cause.UNKNOWN), phases)


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took."""

    count: int
    median: float
    """Seconds."""
    p95: float
    """Seconds; 95 of 100 took no longer."""


def spread(seconds: Sequence[float]) -> Spread | None:
    """Return the spread of durations; None of none."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    nearest = math.ceil(0.95 * len(ordered)) - 1
    return Spread(len(ordered), statistics.median(ordered), ordered[nearest])


@dataclass(frozen=True, slots=True)
class Summary:
    """How the starts of one profile went within the window."""

    outcomes: Mapping[Outcome, int]
    failures: Mapping[str, int]
    """Failed starts by reason, the most frequent first."""
    hours: tuple[int, ...]
    """Starts in each of the last 24 hours, the oldest first; moved ones count where they began."""
    phases: Mapping[Phase, Spread]
    """Of starts that became ready."""
    total: Spread | None
    """From the click until ready, likewise."""

    @property
    def last_hour(self) -> int:
        """Starts in the last 60 minutes."""
        return self.hours[-1]


class Ledger:
    """The starts of the last 24 hours, by profile.

    Parameters
    ----------
    since
        When counting began, in seconds since the epoch.
    """

    def __init__(self, since: float) -> None:
        self.since = since
        self._starts: dict[str, deque[Start]] = {}

    def note(self, start: Start) -> None:
        """Remember a start that is over."""
        self._starts.setdefault(start.profile, deque(maxlen=MOST)).append(start)

    def clear(self, since: float) -> None:
        """Forget all, and begin anew."""
        self.since = since
        self._starts.clear()

    @property
    def profiles(self) -> tuple[str, ...]:
        """The profiles of which anything is known."""
        return tuple(self._starts)

    def _lately(self, profile: str, now: float) -> Iterator[Start]:
        """Return the starts within the window, the newest first."""
        since = now - WINDOW
        return (start for start in reversed(self._starts.get(profile, ())) if start.at > since)

    def summary(self, profile: str, now: float) -> Summary:
        """Return how the starts of a profile went (`now`: seconds since the epoch)."""
        starts = list(self._lately(profile, now))
        good = [start for start in starts if start.outcome is Outcome.READY]
        hours = [0] * 24
        for start in starts:
            hours[23 - min(23, max(0, int((now - start.at) // 3600)))] += 1
        parts = {
            phase: spread([start.phases[phase] for start in good if phase in start.phases])
            for phase in Phase
        }
        failed = Counter(start.reason for start in starts if start.outcome is Outcome.FAILED)
        return Summary(
            outcomes=Counter(start.outcome for start in starts),
            failures=dict(failed.most_common()),
            hours=tuple(hours),
            phases={phase: part for phase, part in parts.items() if part is not None},
            total=spread([start.total for start in good if start.total is not None]),
        )

    def recent(self, profile: str, now: float, most: int = 10) -> list[Start]:
        """Return the last starts whose end says something of the profile.

        Not what users gave up themselves, or were not allowed.
        """
        said = (
            start
            for start in self._lately(profile, now)
            if start.outcome in {Outcome.READY, Outcome.FAILED} and start.reason != GivenUp.CHOICE
        )
        return list(islice(said, most))

    def expected(self, profile: str, now: float | None = None) -> float | None:
        """Return the seconds from the click until ready that recent starts took; None: unknown."""
        recent = (start.total for start in self._ready(profile, now) if start.total is not None)
        return _median(recent)

    def expected_wait(self, profile: str, now: float | None = None) -> float | None:
        """Return the seconds in the queue of recent starts that had to wait; None if none had to.

        Only starts that became ready: those that were given up would have waited longer.
        """
        waits = (start.phases.get(Phase.QUEUE, 0.0) for start in self._ready(profile, now))
        return _median(wait for wait in waits if wait >= NOTICEABLE)

    def _ready(self, profile: str, now: float | None) -> Iterator[Start]:
        lately = self._lately(profile, time.time() if now is None else now)
        for start in islice(lately, SOUGHT):
            if start.outcome is Outcome.READY:
                yield start


def _median(newest_first: Iterator[float]) -> float | None:
    recent = list(islice(newest_first, RECENT))
    return statistics.median(recent) if recent else None


ledger = Ledger(time.time())
"""The hub process's own."""
