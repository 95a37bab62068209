"""What Prometheus may know: numbers of grants, renewals and times.  No user, no token, no audience.

They are in prometheus_client's default registry, so that a hub shows them on its own /hub/metrics
and ``roost-shepherd`` on its /metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from roost_shepherd.errors import (
    AccountSuspended,
    AupRequired,
    ClientRefused,
    NeedsLogin,
    ProviderBusy,
    ProviderUnreachable,
    ScopeRefused,
)
from roost_shepherd.vault.models import GrantState

if TYPE_CHECKING:
    from collections.abc import Mapping

RENEWED = "renewed"
_OUTCOMES: Mapping[type[BaseException], str] = {
    ProviderUnreachable: "unreachable",
    ProviderBusy: "busy",
    NeedsLogin: "needs_login",
    AupRequired: "aup_required",
    AccountSuspended: "suspended",
    ScopeRefused: "scope_refused",
    ClientRefused: "client_refused",
}

grants = Gauge("roost_grants", "Grants in the vault.", ["state"])
seconds_left = Histogram(
    "roost_token_seconds_to_expiry_at_use",
    "Seconds that an access token was still good for when it was handed out.",
    buckets=(0, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600),
)
renewals = Counter("roost_renewals", "Renewals of access tokens that were tried.", ["outcome"])
left_alone = Gauge(
    "roost_provider_left_alone", "1 while the identity provider is away and asked by one probe."
)
kept_answers = Gauge(
    "roost_answers_kept",
    "Answers of the identity provider that the vault's database could not be given yet.",
)
outage = Gauge(
    "roost_outage_seconds", "For how long the grant that waits longest could not be renewed."
)
longest_outage = Gauge(
    "roost_longest_outage_seconds",
    "The longest time that a grant could not be renewed, since this process began.",
)

_STATES = tuple(state for state in GrantState if state is not GrantState.NONE)
_ALL_OUTCOMES = (RENEWED, *_OUTCOMES.values(), "error")
for _outcome in _ALL_OUTCOMES:
    renewals.labels(_outcome)  # there from the beginning, so that a rate has a first value


def count_renewal(error: BaseException | None = None) -> None:
    """Count a renewal that was asked of the provider, or that could not be."""
    outcome = RENEWED
    if error is not None:
        outcome = next((_OUTCOMES[k] for k in type(error).__mro__ if k in _OUTCOMES), "error")
    renewals.labels(outcome).inc()


def show_grants(counted: Mapping[str, int], failing_since: float | None, now: float) -> None:
    """Show how the vault's grants stand.

    Parameters
    ----------
    counted
        Number of grants by state.
    failing_since
        When the longest of the failures that last began, if any does.
    now
        Seconds since the epoch.
    """
    for state in _STATES:
        grants.labels(state.value).set(counted.get(state.value, 0))
    since = 0.0 if failing_since is None else max(0.0, now - failing_since)
    outage.set(since)
    # Read back: what the gauge shows is the only place that keeps it.
    longest_outage.set(max(_Longest.seen, since))
    _Longest.seen = max(_Longest.seen, since)


def counted() -> dict[str, int]:
    """Return the number of grants by state, as they were last counted."""
    return {
        sample.labels["state"]: int(sample.value)
        for metric in grants.collect()
        for sample in metric.samples
    }


def outage_seconds() -> float:
    """Return for how long the grant that waits longest could not be renewed when last counted."""
    return max(sample.value for metric in outage.collect() for sample in metric.samples)


class _Longest:
    seen = 0.0
