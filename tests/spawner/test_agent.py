from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import urllib.request
from pathlib import Path

import pytest
from roost_spawner import bootstrap

from tests.support.agent_hub import SERVER_TOKEN, ChirpDouble, HubDouble

pytestmark = pytest.mark.unit


@pytest.fixture
async def hub(tmp_path, request):
    double = HubDouble(tmp_path, **getattr(request, "param", {}))
    yield double
    double.server.stop()
    await double.server.close_all_connections()


async def finish(agent, limit=20):
    out, err = await asyncio.wait_for(agent.communicate(), limit)
    return agent.returncode, out.decode() + err.decode()


async def stop(agent):
    agent.send_signal(signal.SIGTERM)
    return await finish(agent)


def read(path):
    return Path(path).read_text()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


async def ask(port, path="/user/alice/"):
    def get():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return json.loads(answer.read())

    return await asyncio.to_thread(get)


@pytest.mark.parametrize("hub", [{"tls": False}, {"tls": True}], indirect=True)
async def test_a_session_from_bootstrap_to_ready(hub):
    agent = await hub.run(BEARER_TOKEN="an-old-one")
    port = (await hub.call("ready"))["port"]
    seen = await ask(port)
    env = seen["env"]
    assert [name for name, _, _ in hub.calls] == ["bundle", "ready"]
    assert hub.calls[0][2] == ""
    assert hub.calls[1][2] == f"token {SERVER_TOKEN}"
    assert len(hub.calls[0][1]["key"]) == 64
    assert seen["cwd"] == env["HOME"]
    assert env["JUPYTERHUB_SERVICE_URL"] == f"http://0.0.0.0:{port}/user/alice/"
    assert "BEARER_TOKEN" not in env
    bearer = Path(env["BEARER_TOKEN_FILE"])
    tokens = Path(env["ROOST_TOKEN_DIR"])
    assert bearer.name == f"bt_u{os.getuid()}"
    for path, value in [
        (bearer, "access-token-0"),
        (tokens / "default", "access-token-0"),
        (tokens / "storage", "storage-0"),
    ]:
        assert path.read_text() == value
        assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert mode(bearer.with_name("server.log")) == 0o600
    command_lines = await asyncio.to_thread(
        subprocess.check_output, ["ps", "-eo", "args"], text=True
    )
    assert SERVER_TOKEN not in command_lines
    assert "access-token-0" not in command_lines
    _, said = await stop(agent)
    assert not bearer.parent.exists()
    assert SERVER_TOKEN not in said


async def test_on_htcondor_the_keys_hash_is_in_the_ad_before_the_key_is_shown(hub, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    async with ChirpDouble(scratch) as chirp:
        agent = await hub.run(_CONDOR_SCRATCH_DIR=str(scratch))
        key = (await hub.call("bundle"))["key"]
        digest = hashlib.sha256(bytes.fromhex(key)).hexdigest()
        assert chirp.attributes == {"RoostKeyHash": f'"{digest}"'}
        seen = await ask((await hub.call("ready"))["port"])
        assert seen["env"]["BEARER_TOKEN_FILE"].startswith(str(scratch))
        await stop(agent)


async def test_a_ticket_is_shown_instead_and_stays_out_of_the_environment(hub):
    agent = await hub.run(ticket="ticket-of-this-session")
    assert (await hub.call("bundle"))["ticket"] == "ticket-of-this-session"
    env = (await ask((await hub.call("ready"))["port"]))["env"]
    assert "ticket-of-this-session" not in str(env)
    await stop(agent)


async def test_another_program_than_the_pinned_one_is_never_run(hub, monkeypatch):
    monkeypatch.setattr(
        bootstrap, "_CODE", bootstrap._CODE.replace("range(10)", "range(1)").replace("20))", "0))")
    )
    hub.source += b"\n# and a little more\n"
    code, said = await finish(await hub.run())
    assert code == 75
    assert "not the agent that was pinned" in said
    assert hub.calls == []


@pytest.mark.parametrize("hub", [{"ports": [42000, 42010], "cwd": "~"}], indirect=True)
async def test_the_sites_ports_are_kept_to(hub):
    agent = await hub.run()
    assert 42000 <= (await hub.call("ready"))["port"] <= 42010
    await stop(agent)


@pytest.mark.parametrize("hub", [{"token_life": 1.5}], indirect=True)
async def test_tokens_are_fresh_before_they_end(hub):
    agent = await hub.run()
    env = (await ask((await hub.call("ready"))["port"]))["env"]
    hub.statuses["tokens"] = [503]
    await hub.call("tokens", 3)
    await asyncio.sleep(0.2)
    assert read(env["BEARER_TOKEN_FILE"]) == f"access-token-{hub.renewals}"
    status = json.loads(read(env["ROOST_STATUS_FILE"]))
    assert status["state"] == "running"
    assert set(status["tokens"]) == {"default", "storage"}
    await stop(agent)


async def test_a_busy_hub_is_asked_again_with_the_same_key(hub):
    hub.statuses["bundle"] = [503, 500]
    agent = await hub.run()
    await hub.call("ready")
    keys = {body["key"] for name, body, _ in hub.calls if name == "bundle"}
    assert len(keys) == 1
    await stop(agent)


@pytest.mark.parametrize("status", [403, 410])
async def test_a_refusal_is_final(hub, status):
    hub.statuses["bundle"] = [status]
    code, said = await finish(await hub.run())
    assert code == 77
    assert f"told to say {status}" in said
    assert len(hub.calls) == 1


async def test_sigterm_is_told_and_passed_on(hub):
    agent = await hub.run()
    await hub.call("ready")
    code, _ = await stop(agent)
    assert [(name, body["kind"]) for name, body, _ in hub.calls if name == "event"] == [
        ("event", "evicting"),
        ("event", "ended"),
    ]
    assert code == 128 + signal.SIGTERM


@pytest.mark.parametrize("hub", [{"server_mode": "crash"}], indirect=True)
async def test_a_server_that_crashes_is_reported_with_its_last_lines_and_no_secret(hub):
    code, said = await finish(await hub.run())
    event = await hub.call("event")
    assert code == 3
    assert event["kind"] == "failed"
    assert "status 3 before it was ready" in event["reason"]
    assert event["log_tail"].splitlines()[-1] == "line 29"
    assert len(event["log_tail"].splitlines()) == 20
    assert SERVER_TOKEN not in event["log_tail"] + said


async def test_a_server_that_ends_by_itself_ends_the_session(hub):
    agent = await hub.run()
    port = (await hub.call("ready"))["port"]
    with pytest.raises(OSError):
        await ask(port, "/user/alice/quit")
    code, _ = await finish(agent)
    assert code == 0
    assert (await hub.call("event"))["kind"] == "ended"


@pytest.mark.parametrize("hub", [{"token_life": 1.5}], indirect=True)
async def test_a_session_that_is_over_ends_from_inside(hub):
    agent = await hub.run()
    await hub.call("ready")
    hub.statuses["tokens"] = [410]
    await finish(agent)
    assert "event" not in [name for name, _, _ in hub.calls]


async def test_nothing_free_in_the_range_is_a_plain_failure(hub):
    hub.ports = [hub.port, hub.port]
    hub.server.add_sockets([])
    code, said = await finish(await hub.run())
    assert code in (77, 70)
    assert "no port is free" in said


def _run_old(python):
    found = shutil.which(python)
    if not found:
        return None
    done = subprocess.run([found, "-c", "import ssl"], capture_output=True, check=False)
    return found if done.returncode == 0 else None


@pytest.mark.parametrize("python", ["python3.6", "python3.7", "python3.8"])
async def test_old_pythons_run_it(hub, python, monkeypatch):
    found = _run_old(python)
    if found is None:
        pytest.skip(f"no {python} here")
    monkeypatch.setattr("tests.support.agent_hub.sys.executable", found)
    agent = await hub.run()
    await hub.call("ready")
    await stop(agent)
