"""A start whose node cannot have it, in a real hub on a batch system that obeys the test."""

from __future__ import annotations

import asyncio
import time

import pytest

pytestmark = pytest.mark.hub


async def until(condition, limit=10.0):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.02)


async def failed(events):
    return [event for event in events if event.get("failed")][-1]["message"]


async def test_a_node_that_cannot_start_the_job_is_named_and_avoided(hub, caplog):
    first = await hub.submitted(profile="interactive")
    hub.pool.move(first.record.job_id, failed_on="ep2.example.org")
    await until(lambda: len(hub.pool.requests) == 2)
    await until(lambda: hub.spawner().session is not first)
    session = hub.spawner().session
    assert hub.pool.requests[0].avoid == ()
    assert hub.pool.requests[1].avoid == ("ep2.example.org",)
    told = [message for _, message in session.news]
    known = "your account may not be known there. Another node is tried."
    assert f"ep2.example.org could not start your job; {known}" in told
    assert "ep2.example.org could not start job 1.0 of alice" in caplog.text
    # The first job goes: it might hold its claim until its lease is over.
    await until(lambda: first.record.job_id not in hub.pool.jobs)


async def test_a_start_that_no_node_can_have_ends_with_their_names(hub):
    await hub.submitted(profile="interactive")
    for number in (1, 2, 3):
        await until(lambda number=number: f"{number}.0" in hub.pool.jobs)
        hub.pool.move(f"{number}.0", failed_on=f"ep{number}.example.org")
    said = await failed(await hub.progress())
    names = "ep1.example.org, ep2.example.org, ep3.example.org"
    assert f"No session could be started: {names} could not start your job" in said
    await until(lambda: not hub.pool.jobs)


async def test_a_job_that_runs_under_another_name_is_refused_with_both(hub):
    session = await hub.submitted(profile="interactive")
    hub.pool.move(session.record.job_id, owner="Alice")
    said = await failed(await hub.progress())
    assert "runs your job as Alice, and here you are alice" in said


async def test_a_node_whose_name_the_hub_cannot_resolve_is_said_so(hub, caplog):
    session = await hub.submitted(profile="interactive")
    hub.pool.start(session.record.job_id)
    hub.pool.move(session.record.job_id, node="gpu7.invalid")
    session.update(started=True, ready=True, port=40000)
    sentence = "The hub cannot find the node gpu7.invalid by its name yet."
    await until(lambda: any(sentence in message for _, message in session.news))
    await until(lambda: sentence in caplog.text)
    assert caplog.text.count(sentence) == 1
