"""What the ledger of starts says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roost_spawner.clusters.base import Cause
from roost_spawner.record import Record, SessionState
from roost_spawner.starts import (
    MOST,
    REASONS,
    WINDOW,
    GivenUp,
    Ledger,
    Outcome,
    Phase,
    Start,
    spread,
    start_of,
)

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0
RECORD = Record(
    id="a" * 32,
    hub_id="hub",
    cluster="pool",
    profile="interactive",
    account="alice",
    asked_at=NOW - 100,
    queued_at=NOW - 99,
    began_at=NOW - 9,
    ready_at=NOW - 6,
    ready=True,
)
FAILED = replace(RECORD, ready=False, ready_at=0.0, state=SessionState.ENDED, over_at=NOW - 5)


def ready(total=3.0, ago=0.0, **phases):
    parts = {Phase(name): seconds for name, seconds in phases.items()}
    return Start("interactive", "pool", NOW - ago, Outcome.READY, "", parts, total)


def failed(reason, ago=0.0):
    return Start("interactive", "pool", NOW - ago, Outcome.FAILED, reason)


@pytest.fixture
def ledger():
    return Ledger(NOW - WINDOW)


def test_a_start_that_became_ready_has_all_its_phases():
    start = start_of(RECORD, None, NOW)
    assert start.outcome is Outcome.READY
    assert start.phases == {Phase.SUBMIT: 1, Phase.QUEUE: 90, Phase.SERVER: 3}
    assert (start.total, start.reason, start.at) == (94, "", NOW - 6)


def test_a_session_that_an_older_hub_began_has_no_times_that_nobody_noted():
    start = start_of(replace(RECORD, asked_at=0.0, queued_at=0.0), None, NOW)
    assert start.phases == {Phase.SERVER: 3}
    assert start.total is None


def test_a_clock_that_was_set_back_makes_no_negative_times():
    start = start_of(replace(RECORD, asked_at=NOW + 50), None, NOW)
    assert start.phases[Phase.SUBMIT] == 0
    assert start.total == 0


@pytest.mark.parametrize(
    ("given_up", "cause", "outcome", "reason"),
    [
        (None, "out-of-memory", Outcome.FAILED, "out-of-memory"),
        (None, "", Outcome.FAILED, "unknown"),
        (GivenUp.STOPPED, "removed", Outcome.CANCELLED, "stopped"),
        (GivenUp.TIMEOUT, "removed", Outcome.FAILED, "timeout"),
        (GivenUp.OVERFLOW, "removed", Outcome.MOVED, "overflow"),
        (GivenUp.SUBMIT, "", Outcome.FAILED, "submit"),
    ],
)
def test_what_the_hub_ended_itself_is_not_blamed_on_the_scheduler(given_up, cause, outcome, reason):
    start = start_of(replace(FAILED, cause=cause), given_up, NOW)
    assert (start.outcome, start.reason) == (outcome, reason)
    assert start.reason in REASONS
    assert start.total is None


def test_the_summary_counts_outcomes_and_reasons(ledger):
    for start in (ready(), failed("submit"), failed("evicted"), failed("submit")):
        ledger.note(start)
    summary = ledger.summary("interactive", NOW)
    assert summary.outcomes[Outcome.READY] == 1
    assert summary.outcomes[Outcome.FAILED] == 3
    assert list(summary.failures.items()) == [("submit", 2), ("evicted", 1)]


def test_only_starts_that_became_ready_say_how_long_one_takes(ledger):
    ledger.note(replace(failed("timeout"), phases={Phase.SUBMIT: 500.0}))
    ledger.note(ready(4.0, submit=1.0, queue=2.0, server=1.0))
    summary = ledger.summary("interactive", NOW)
    assert summary.phases[Phase.SUBMIT].median == 1
    assert summary.total.count == 1


def test_a_start_of_yesterday_counts_no_more(ledger):
    ledger.note(ready(ago=WINDOW + 1))
    assert ledger.summary("interactive", NOW).total is None
    assert ledger.expected("interactive", NOW) is None


def test_starts_are_counted_by_the_hour_the_last_one_last(ledger):
    for ago in (10, 3599, 3601, 23.5 * 3600):
        ledger.note(ready(ago=ago))
    hours = ledger.summary("interactive", NOW).hours
    assert (hours[23], hours[22], hours[0], sum(hours)) == (2, 1, 1, 4)


def test_the_ledger_does_not_grow_without_end(ledger):
    for _ in range(MOST + 10):
        ledger.note(ready())
    assert ledger.summary("interactive", NOW).total.count == MOST


def test_what_is_expected_is_what_recent_starts_took_not_those_of_the_morning(ledger):
    for _ in range(100):
        ledger.note(ready(300.0, ago=20_000))
    for _ in range(50):
        ledger.note(ready(2.0))
    assert ledger.expected("interactive", NOW) == 2


def test_who_did_not_have_to_wait_says_nothing_of_waiting(ledger):
    for wait in (0.2, 0.3, 0.2, 120.0, 240.0):
        ledger.note(ready(queue=wait))
    assert ledger.expected_wait("interactive", NOW) == 180
    assert ledger.expected_wait("gpu", NOW) is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_a_median_and_a_p95_lie_within_what_was_measured(seconds):
    found = spread(seconds)
    assert min(seconds) <= found.median <= found.p95 <= max(seconds)
    assert sum(second <= found.p95 for second in seconds) >= 0.95 * len(seconds)


def test_every_cause_is_a_reason_once():
    assert len(set(REASONS)) == len(REASONS)
    assert set(Cause) < set(REASONS)
