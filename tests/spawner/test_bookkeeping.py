"""Starts and ends of a real hub's sessions, as they are written down."""

from __future__ import annotations

import time

import pytest
from prometheus_client import REGISTRY
from roost_spawner.clusters.base import Cause, JobState
from roost_spawner.errors import ClusterRefused
from roost_spawner.starts import Outcome, Phase, ledger

HERE = {"profile": "interactive", "cluster": "pool"}

pytestmark = pytest.mark.hub


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
def counted():
    """Return a function that tells by how much a counter has grown since the test began."""
    before = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name.startswith("roost_")
    }

    def since(name, **labels):
        return value(name, **labels) - before.get((name, *sorted(labels.items())), 0.0)

    return since


def summary(profile="interactive"):
    return ledger.summary(profile, time.time())


async def stop(hub):
    code, _ = await hub.fetch("DELETE", "api/users/alice/server")
    assert code in (202, 204)
    assert await hub.settled() is None


async def test_a_start_is_counted_with_its_phases_and_its_end_as_wanted(hub, counted):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    assert counted("roost_starts_total", **HERE, outcome="ready", reason="") == 1
    assert counted("roost_start_seconds_count", **HERE) == 1
    assert set(summary().phases) == set(Phase)
    record = session.record
    assert summary().total.median == pytest.approx(record.ready_at - record.asked_at)
    await stop(hub)
    assert counted("roost_session_ends_total", **HERE, cause="stopped") == 1
    assert summary().outcomes == {Outcome.READY: 1}


async def test_a_start_that_its_user_cancels_is_no_failure(hub, counted):
    await hub.submitted()
    await stop(hub)
    assert counted("roost_starts_total", **HERE, outcome="cancelled", reason="stopped") == 1
    assert summary().failures == {}


async def test_a_start_that_is_not_ready_in_time_is_one(hub, counted):
    await hub.fetch("POST", "api/users/alice")
    hub.spawner().start_timeout = 1
    session = await hub.submitted()
    assert await session.until(lambda record: record.ended, 10)
    assert counted("roost_starts_total", **HERE, outcome="failed", reason="timeout") == 1


async def test_a_start_that_the_scheduler_ends_has_its_cause(hub, counted):
    session = await hub.submitted()
    hub.pool.move(session.record.job_id, state=JobState.HELD, cause=Cause.OUT_OF_MEMORY)
    assert await session.until(lambda record: record.ended, 10)
    assert counted("roost_starts_total", **HERE, outcome="failed", reason="out-of-memory") == 1


async def test_a_submit_that_is_refused_is_counted_once(hub, counted):
    hub.pool.refuse = ClusterRefused("The pool says no.")
    await hub.spawn()
    await hub.settled()
    assert summary().failures == {"submit": 1}


async def test_a_user_without_a_token_is_counted_once(hub):
    hub.shepherd.gone.add("alice")
    await hub.spawn()
    await hub.settled()
    assert summary().failures == {"token": 1}


async def test_a_choice_that_is_not_allowed_is_counted_under_no_name_that_a_user_made_up(hub):
    await hub.fetch("POST", "api/users/alice")
    for profile in ("gpu", "made-up-by-alice"):
        options = {"profile": profile, "gpus": "99"}
        code, _ = await hub.fetch("POST", "api/users/alice/server", options)
        assert code == 400
    assert summary("gpu").failures == {"choice": 1}
    assert summary("").failures == {"choice": 1}
    assert set(ledger.profiles) == {"gpu", ""}


async def test_the_end_of_a_session_has_its_cause(hub, counted):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    job = session.record.job_id
    hub.pool.move(job, state=JobState.ENDED, cause=Cause.NODE_LOST, reason="The node is gone.")
    assert await session.until(lambda record: record.ended, 20)
    assert counted("roost_session_ends_total", **HERE, cause="node-lost") == 1
    assert summary().outcomes == {Outcome.READY: 1}
