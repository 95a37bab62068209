"""The pending page's timeline, and what a failed start leaves for support, from a real hub."""

from __future__ import annotations

import asyncio

import pytest

from tests.hub_config.test_recovery import begin, forget
from tests.support.handoff import proved

pytestmark = pytest.mark.hub

TIMES = ["asked_at", "queued_at", "began_at", "ready_at", "over_at"]


async def test_each_piece_of_news_comes_with_the_times_of_the_steps_before_it(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    told = [event for event in await hub.progress() if "times" in event]
    assert await hub.settled()
    times = told[-1]["times"]
    assert list(times) == TIMES
    assert times["over_at"] is None
    reached = [times[name] for name in TIMES[:4]]
    assert reached == sorted(reached)
    assert reached[0] == session.record.asked_at
    assert abs(told[-1]["now"] - times["ready_at"]) < 30


async def test_the_next_start_of_a_profile_says_how_long_the_ones_before_took(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    first = [event["usual"] for event in await hub.progress() if "usual" in event]
    assert first[0] is None
    assert (await hub.settled())["ready"]
    took = session.record.ready_at - session.record.asked_at
    await hub.fetch("DELETE", "api/users/alice/server")
    assert await hub.settled() is None
    await hub.spawn()
    told = [event["usual"] for event in await hub.progress() if "usual" in event]
    assert told[0] == pytest.approx(took)


async def test_a_restarted_hub_tells_the_same_times(hub):
    session = await hub.submitted()
    before = (session.record.asked_at, session.record.queued_at)
    forget(hub)
    await begin(hub)
    await asyncio.sleep(0.3)  # the start goes on
    code, status = await hub.fetch("GET", "api/roost/v1/servers/alice")
    assert code == 200
    assert (status["times"]["asked_at"], status["times"]["queued_at"]) == before


async def test_a_failed_start_has_a_block_for_support_that_holds_no_secret(hub):
    session, _, token = await proved(hub)
    progress = asyncio.ensure_future(hub.progress())
    await asyncio.sleep(0.2)
    evil = "<script>alert(1)</script>"
    body = {
        "kind": "failed",
        "reason": "the server ended with status 3 before it was ready",
        "log_tail": f"{evil}\nusing {token}\nboom",
    }
    assert (await hub.handoff(session, "event", body, token))[0] == 200
    failed = (await progress)[-1]
    assert failed["failed"]
    page = failed["html_message"]
    _, _, block = page.partition('<details class="roost-support')
    assert f"session  {session.record.mark}" in block
    assert f"job      {session.record.job_id}" in block
    assert "said     Your session&#x27;s server ended with status 3" in block
    assert block.count("boom") == 1
    assert token not in str(failed)
    assert evil not in page


async def test_a_choice_that_is_refused_has_no_block_of_an_earlier_session(hub):
    code, answer = await hub.fetch("POST", "api/users/bob/server", {"profile": "none"})
    assert code in (400, 404), answer
    await hub.fetch("POST", "api/users/bob")
    code, answer = await hub.fetch("POST", "api/users/bob/server", {"profile": "none"})
    assert code == 400
    assert "roost-support" not in str(answer)


async def test_a_start_that_the_hub_gives_up_as_it_ends_is_not_told_as_ready(hub):
    session = await hub.submitted()
    hub.spawner()._spawn_future.cancel()  # as JupyterHub does with all tasks
    while hub.spawner().pending:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    assert not session.record.ready
    assert not any("ready" in event for event in await hub.progress())
