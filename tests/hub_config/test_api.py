"""How a session stands, for those who may know."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace

import aiohttp
import pytest
from roost_hub import api
from roost_spawner.clusters.base import Cause, JobState
from roost_spawner.notices import MOST

pytestmark = pytest.mark.hub

STATUS = "api/roost/v1/servers/alice"


async def test_the_owner_reads_how_the_session_stands(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    session.update(ends_at=4_000_000_000.0)
    token = hub.app.users["alice"].new_api_token()
    code, status = await hub.fetch("GET", STATUS, token=token)
    assert code == 200
    assert (status["state"], status["job"], status["node"]) == ("running", "1.0", "127.0.0.1")
    assert status["seconds_left"] > 0
    assert status["notices"] == []
    for secret in (hub.spawner().api_token, session.record.key_hash, session.record.token_hash):
        assert secret not in json.dumps(status)


async def test_a_server_reads_its_own_status_and_no_other(hub):
    hub.pool.run_for_real = True
    await hub.spawn(server="one")
    await hub.spawn(server="two")
    await hub.settled(server="one")
    await hub.settled(server="two")
    token = hub.spawner(server="one").api_token
    assert (await hub.fetch("GET", f"{STATUS}/servers/one", token=token))[0] == 200
    assert (await hub.fetch("GET", f"{STATUS}/servers/two", token=token))[0] == 403


async def test_nobody_else_reads_it(hub):
    await hub.submitted()
    await hub.fetch("POST", "api/users/bob")
    bob = hub.app.users["bob"].new_api_token()
    for path in (STATUS, f"{STATUS}/events"):
        assert (await hub.fetch("GET", path, token=bob))[0] == 403
        assert (await hub.fetch("GET", path, token=None))[0] in (401, 403)
    assert (await hub.fetch("GET", "api/roost/v1/servers/nobody"))[0] == 404


async def test_a_page_of_another_site_gets_nothing(hub):
    await hub.submitted()
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    assert (await hub.fetch("GET", STATUS, headers=headers))[0] == 403


async def test_events_come_as_they_happen_and_end_with_the_session(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    heard = []
    listening = asyncio.Event()

    async def listen():
        headers = {"Authorization": f"token {hub.token}"}
        url = f"{hub.app.url}{STATUS}/events"
        async with aiohttp.request("GET", url, headers=headers) as answer:
            assert answer.content_type == "text/event-stream"
            async for line in answer.content:
                if line.startswith(b"data:"):
                    heard.append(json.loads(line[5:]))
                    listening.set()

    listener = asyncio.create_task(listen())
    await asyncio.wait_for(listening.wait(), 5)
    session.event("evicting", "the scheduler takes the node back", "", seconds_left=30)
    await asyncio.sleep(0.2)
    assert heard[-1]["state"] == "evicting"
    assert "ends in 30 s" in heard[-1]["notices"][0]["message"]
    hub.pool.stubborn = True
    session.event("ended", "the server ended with status 0", "")
    await asyncio.sleep(0.2)
    assert heard[-1]["over"]
    view = replace(hub.pool.jobs["1.0"], state=JobState.ENDED, cause=Cause.EVICTED)
    hub.pool.jobs["1.0"] = replace(view, reason="The node is being drained by an admin.")
    await asyncio.wait_for(listener, 5)
    assert (heard[-1]["state"], heard[-1]["why"]) == (
        "ended",
        "The node is being drained by an admin.",
    )


async def test_a_job_that_calls_without_end_is_slowed_down_and_costs_its_listeners_little(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    headers = {"Authorization": f"token {hub.token}"}
    heard = 0

    async def listen():
        nonlocal heard
        async with aiohttp.request("GET", f"{hub.app.url}{STATUS}/events", headers=headers) as told:
            async for line in told.content:
                heard += len(line)

    listener = asyncio.create_task(listen())
    hub.pool.stubborn = True
    url = f"{hub.app.url}api/roost/v1/sessions/{session.record.id}/event"
    own = {"Authorization": f"token {hub.spawner().api_token}"}
    codes = Counter()
    async with aiohttp.ClientSession() as client:
        for number in range(200):
            body = {"kind": "evicting", "reason": "x" * 500, "seconds_left": number}
            async with client.post(url, json=body, headers=own) as answer:
                codes[answer.status] += 1
                if answer.status == 429:
                    assert 1 <= int(answer.headers["Retry-After"]) <= 60
                    assert "too often" in (await answer.json())["message"]
    assert 10 <= codes[200] <= 12
    assert codes[429] == 200 - codes[200]
    await asyncio.sleep(0.3)
    assert 0 < heard < 100_000
    # And without the rate: what is kept of them is bounded.
    for number in range(700):
        session.event("evicting", "x", "", seconds_left=number)
    assert len(session.notices) == MOST
    assert f"in {699} s" in session.notices[-1].message
    listener.cancel()


async def test_a_caller_has_so_many_streams_of_a_server_and_no_more(hub, monkeypatch):
    monkeypatch.setattr(api, "STREAMS", 2)
    monkeypatch.setattr(api, "HEARTBEAT", 0.1)
    await hub.submitted()
    url, headers = f"{hub.app.url}{STATUS}/events", {"Authorization": f"token {hub.token}"}
    async with aiohttp.request("GET", url, headers=headers) as one:
        await one.content.readline()
        async with aiohttp.request("GET", url, headers=headers) as two:
            await two.content.readline()
            async with aiohttp.request("GET", url, headers=headers) as three:
                assert (three.status, "Retry-After" in three.headers) == (429, True)
    for _ in range(50):  # who has gone is noticed
        async with aiohttp.request("GET", url, headers=headers) as again:
            if again.status == 200:
                break
        await asyncio.sleep(0.1)
    assert again.status == 200


async def test_a_silent_stream_repeats_itself(hub, monkeypatch):
    monkeypatch.setattr(api, "HEARTBEAT", 0.1)
    await hub.submitted()
    url, headers = f"{hub.app.url}{STATUS}/events", {"Authorization": f"token {hub.token}"}
    async with aiohttp.request("GET", url, headers=headers) as answer:
        lines = [await asyncio.wait_for(answer.content.readline(), 5) for _ in range(5)]
    told = [json.loads(line[5:]) for line in lines if line.startswith(b"data:")]
    assert len(told) == 3
    assert told[1] == told[2]


async def test_why_the_last_session_ended_is_told_until_the_next(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    view = hub.pool.jobs.pop("1.0")
    hub.pool.fates["1.0"] = replace(
        view, state=JobState.ENDED, reason="Its time was up.", cause=Cause.WALLTIME
    )
    for _ in range(2):
        await hub.spawner().engine.watcher("pool").look()
    assert await session.until(lambda record: record.ended, 5)
    assert await hub.settled() is None
    for _ in range(2):
        code, status = await hub.fetch("GET", STATUS)
        assert code == 200
        assert (status["state"], status["why"]) == ("ended", "Its time was up.")
        assert status["cause"] == "walltime"
        hub.app.users["alice"].spawners.pop("", None)  # as JupyterHub forgets it, and a restart
    await hub.spawn()
    assert "why" not in hub.spawner().get_state().get("last_end", {})


async def test_what_the_scheduler_says_late_of_an_end_is_told_too(hub):
    hub.pool.run_for_real = hub.pool.stubborn = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    session.event("evicting", "the scheduler takes the node back", "", seconds_left=30)
    session.event("ended", "the server ended with status 0", "")
    assert await hub.settled() is None
    _, status = await hub.fetch("GET", STATUS)  # by a new spawner, as JupyterHub forgets the old
    assert status["why"] == "The batch system has ended your session."
    reason = "An admin (root) has removed the job."
    hub.pool.move("1.0", state=JobState.ENDED, reason=reason, cause=Cause.REMOVED)
    await asyncio.wait_for(session.farewell, 5)
    for _ in range(2):
        _, status = await hub.fetch("GET", STATUS)
        assert (status["why"], status["cause"]) == (reason, "removed")
        hub.app.users["alice"].spawners.pop("", None)


async def test_a_job_that_the_scheduler_ends_is_left_to_it_so_that_it_says_why(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    session.event("evicting", "the scheduler takes the node back", "", seconds_left=30)
    session.event("ended", "the server ended with status 0", "")
    assert await hub.settled() is None
    reason = "The notebook was taken off its node."
    assert "cancel" not in hub.pool.calls
    hub.pool.move("1.0", state=JobState.ENDED, reason=reason, cause=Cause.EVICTED)
    await asyncio.wait_for(session.farewell, 5)
    assert hub.pool.jobs == {}  # what went back to the queue does not stay there
    _, status = await hub.fetch("GET", STATUS)
    assert (status["why"], status["cause"]) == (reason, "evicted")


async def test_why_a_job_is_gone_that_is_no_longer_in_the_queue_the_records_say(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    view = replace(hub.pool.jobs["1.0"], state=JobState.ENDED, cause=Cause.REMOVED)
    hub.pool.fates["1.0"] = replace(view, reason="An admin (root) has removed the job.")
    session.event("ended", "the server ended with status 0", "")
    await asyncio.wait_for(session.farewell, 5)
    _, status = await hub.fetch("GET", STATUS)
    assert status["why"] == "An admin (root) has removed the job."


async def test_a_listener_who_leaves_is_forgotten(hub):
    session = await hub.submitted()
    url, headers = f"{hub.app.url}{STATUS}/events", {"Authorization": f"token {hub.token}"}
    async with aiohttp.request("GET", url, headers=headers) as answer:
        await answer.content.readline()
        await asyncio.sleep(2 * api.QUIET)
        before = len(session._waiters)
    session.wake()
    await asyncio.sleep(0.2)
    session.wake()
    await asyncio.sleep(0.2)
    assert len(session._waiters) < before
