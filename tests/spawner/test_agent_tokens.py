"""The token files of the real agent, when hub or provider are away, and what it says of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest
from tornado.httpserver import HTTPServer

from tests.support.agent_hub import HubDouble

pytestmark = pytest.mark.unit


@pytest.fixture
async def hub(tmp_path, request):
    double = HubDouble(tmp_path, **getattr(request, "param", {}))
    yield double
    double.server.stop()
    await double.server.close_all_connections()


def session_folder(directory):
    (status,) = Path(directory).glob("roost-*/status.json")
    return status.parent


async def begun(hub):
    """Return the agent and where its session's files are."""
    agent = await hub.run()
    await hub.call("ready")
    return agent, session_folder(hub.directory)


async def stop(agent):
    agent.send_signal(signal.SIGTERM)
    await asyncio.wait_for(agent.communicate(), 20)


async def told(folder, condition, limit=8):
    until = time.monotonic() + limit
    while True:
        status = json.loads((folder / "status.json").read_text())
        if condition(status):
            return status
        assert time.monotonic() < until, status
        await asyncio.sleep(0.02)


def standing(state="good", **more):
    return {"state": state, "expires_at": None, "missing_scopes": [], "message": "", **more}


def at(status, name="default"):
    return status["tokens"][name]


def clock(seconds):
    return time.strftime("%H:%M", time.localtime(seconds))


@pytest.mark.parametrize("hub", [{"token_life": 3.0}], indirect=True)
async def test_an_outage_of_the_hub_longer_than_a_tokens_life_is_told_and_heals(hub):
    agent, folder = await begun(hub)
    await told(folder, lambda status: status["state"] == "running")
    port, callback = hub.port, hub.server.request_callback
    hub.server.stop()
    await hub.server.close_all_connections()
    gone = time.time()
    status = await told(folder, lambda status: at(status)["state"] == "retrying")
    ends = at(status)["expires_at"]
    assert time.time() < ends
    assert at(status)["message"] == (
        f"Good until {clock(ends)}; the hub does not answer since {clock(gone + 2)}."
    ) or clock(gone) != clock(gone + 4)  # the minute may have ended meanwhile
    assert status["hub"].startswith("no fresh tokens since ")
    status = await told(folder, lambda status: at(status)["state"] == "expired")
    assert at(status)["message"].startswith("Ended at ")
    assert time.time() >= ends
    hub.server = HTTPServer(callback)
    hub.server.listen(port, "127.0.0.1")
    status = await told(folder, lambda status: at(status)["state"] == "good")
    assert (status["hub"], at(status)["message"]) == ("ok", "")
    assert at(status)["expires_at"] > time.time()
    assert (folder / "tokens/default").read_text() == f"access-token-{hub.renewals}"
    await stop(agent)


@pytest.mark.parametrize("hub", [{"token_life": 1.5}], indirect=True)
async def test_whoever_reads_a_token_file_meets_a_whole_token_for_its_owner_alone(hub):
    agent, folder = await begun(hub)
    bearer = folder / f"bt_u{os.getuid()}"
    seen, until = set(), time.monotonic() + 3.5
    while time.monotonic() < until:
        for path in (bearer, folder / "tokens/default"):
            value = path.read_text()
            assert value.startswith("access-token-")
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            seen.add(value)
        await asyncio.sleep(0.001)
    assert len(seen) > 2
    await stop(agent)


@pytest.mark.parametrize("hub", [{"token_life": 3.0}], indirect=True)
async def test_a_server_that_is_long_in_coming_up_does_not_find_its_tokens_ended(hub):
    hub.extra = {"prologue": "sleep 3.2"}
    agent = await hub.run()
    await hub.call("ready")
    ready = time.monotonic()
    await hub.call("tokens")
    assert time.monotonic() - ready < 1.0
    await stop(agent)


async def test_a_missing_scope_and_a_missing_token_are_in_the_status_file(hub):
    hub.extra = {
        "token_states": {
            "default": standing(),
            "storage": standing(missing_scopes=["storage.modify:/"], message="It lacks it."),
            "tape": standing("missing", message="There is no token tape: refused."),
        }
    }
    agent, folder = await begun(hub)
    status = await told(folder, lambda status: status["state"] == "running")
    assert at(status, "storage")["missing_scopes"] == ["storage.modify:/"]
    assert at(status, "storage")["message"] == "It lacks it."
    assert at(status, "storage")["expires_at"] > time.time()
    assert (at(status, "tape")["state"], at(status, "tape")["expires_at"]) == ("missing", None)
    assert not (folder / "tokens/tape").exists()
    assert (folder / "tokens/storage").exists()
    await stop(agent)


async def test_a_token_that_is_missing_is_asked_for_again_soon(hub):
    hub.extra = {"again_in": 1.0, "token_states": {"tape": standing("missing")}}
    agent, _ = await begun(hub)
    await hub.call("tokens", limit=4)
    await stop(agent)


@pytest.mark.parametrize("hub", [{"token_life": 1.5}], indirect=True)
async def test_a_provider_that_is_away_is_named_and_not_the_hub(hub):
    since = time.time() - 600
    late = standing("retrying", away="iam.example.org", since=since)
    hub.answers["tokens"] = {"token_states": {"default": late}}
    agent, folder = await begun(hub)
    status = await told(folder, lambda status: at(status)["state"] == "retrying")
    ends = at(status)["expires_at"]
    assert at(status)["message"] in {
        f"{begin} {clock(ends)}; iam.example.org does not answer since {clock(since)}."
        for begin in ("Good until", "Ended at")
    }
    assert status["hub"] == "ok"
    await stop(agent)


@pytest.mark.parametrize("hub", [{"token_life": 1.5}], indirect=True)
async def test_who_had_short_lived_tokens_does_not_wait_a_minute_once_they_have_ended(hub):
    hub.statuses["tokens"] = [503] * 7
    agent, _ = await begun(hub)
    await hub.call("tokens", number=8, limit=12)  # doubled each time, it would be a minute
    await stop(agent)


@pytest.mark.parametrize("hub", [{"token_life": 1.5}], indirect=True)
async def test_tokens_of_a_shared_session_are_taken_away_and_given_back(hub):
    agent, folder = await begun(hub)
    bearer = folder / f"bt_u{os.getuid()}"
    assert bearer.exists()
    shared = {
        name: standing("withheld", message="It is shared.") for name in ("default", "storage")
    }
    hub.answers["tokens"] = {"tokens": {}, "token_states": shared, "again_in": 1.0}
    status = await told(folder, lambda status: at(status)["state"] == "withheld")
    assert list((folder / "tokens").iterdir()) == []
    assert not bearer.exists()
    assert (at(status)["expires_at"], status["notice"]) == (None, "It is shared.")
    hub.answers["tokens"] = {}
    status = await told(folder, lambda status: at(status)["state"] == "good")
    assert bearer.read_text().startswith("access-token-")
    assert (folder / "tokens/storage").exists()
    assert status["notice"] == ""
    await stop(agent)
