from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from certipy import Certipy
from roost_spawner import bootstrap, compat, tls
from roost_spawner.agent import close_all, hold_port, memory_limit
from tornado.httpserver import HTTPServer

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


def exists(path):
    return Path(path).exists()


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
        bootstrap, "_CODE", bootstrap._CODE.replace("range(16)", "range(1)").replace("15))", "0))")
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


@pytest.mark.parametrize("hub", [{"ports": [42100, 42100]}], indirect=True)
async def test_a_port_is_one_sessions_from_before_its_server_listens(hub):
    port, held = hold_port([42100, 42100])
    code, said = await finish(await hub.run())
    close_all(held)
    assert (port, code) == (42100, 77)
    assert "no port is free" in said
    agent = await hub.run()
    assert (await hub.call("ready"))["port"] == 42100
    await stop(agent)


@pytest.mark.parametrize("hub", [{"server_mode": "beaten"}], indirect=True)
async def test_a_server_whose_port_another_program_has_taken_gets_another(hub):
    agent = await hub.run()
    assert await ask((await hub.call("ready"))["port"])
    _, said = await stop(agent)
    assert "another program has port" in said
    assert [body["kind"] for name, body, _ in hub.calls if name == "event"][-1] == "ended"


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


@pytest.mark.parametrize("hub", [{"extra": {"tokens": None}}], indirect=True)
async def test_tokens_that_could_not_be_had_at_the_start_are_asked_for_at_once(hub):
    agent = await hub.run()
    env = (await ask((await hub.call("ready"))["port"]))["env"]
    await hub.call("tokens", limit=5)
    await asyncio.sleep(0.2)
    assert read(env["BEARER_TOKEN_FILE"]) == "access-token-1"
    await stop(agent)


@pytest.mark.parametrize("hub", [{"token_life": 1.5}], indirect=True)
async def test_a_session_that_is_to_have_no_tokens_lacks_none(hub):
    hub.answers["tokens"] = {"tokens": {}}
    agent = await hub.run()
    env = (await ask((await hub.call("ready"))["port"]))["env"]
    await hub.call("tokens")
    await asyncio.sleep(2.5)
    assert hub.renewals == 1
    assert json.loads(read(env["ROOST_STATUS_FILE"]))["hub"] == "ok"
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


async def status_of(env, condition, limit=5):
    until = asyncio.get_running_loop().time() + limit
    while True:
        status = json.loads(read(env["ROOST_STATUS_FILE"]))
        if condition(status):
            return status
        assert asyncio.get_running_loop().time() < until, status
        await asyncio.sleep(0.02)


async def test_the_bundles_files_are_there_for_the_user_alone_and_named_in_the_environment(hub):
    hub.extra = {"files": {"config/lab/a.json": "{}", "plain": "text"}}
    hub.env = {"JUPYTER_CONFIG_PATH": "@ROOST_DIR@/config:/etc/x"}
    agent = await hub.run()
    env = (await ask((await hub.call("ready"))["port"]))["env"]
    config, _, rest = env["JUPYTER_CONFIG_PATH"].partition(":")
    file = Path(config, "lab/a.json")
    assert rest == "/etc/x"
    assert (read(file), mode(file), mode(file.parent)) == ("{}", 0o600, 0o700)
    assert Path(config).parent == Path(env["ROOST_STATUS_FILE"]).parent
    await stop(agent)
    assert not exists(file)


@pytest.mark.parametrize("name", ["../outside", "/tmp/roost-outside", "a/../../outside"])
async def test_a_file_outside_of_the_session_is_refused(hub, name):
    hub.extra = {"files": {name: "x"}}
    code, said = await finish(await hub.run())
    assert code == 77
    assert "outside of the session" in said
    assert not exists("/tmp/roost-outside")


async def test_the_prologue_runs_before_the_server_and_shapes_its_environment(hub):
    hub.extra = {"prologue": 'export FROM_PROLOGUE="it\'s $HOME"\nulimit -n 512'}
    agent = await hub.run()
    env = (await ask((await hub.call("ready"))["port"]))["env"]
    assert env["FROM_PROLOGUE"] == f"it's {env['HOME']}"
    code, _ = await stop(agent)
    assert code == 128 + signal.SIGTERM  # the server has taken the shell's place


async def test_a_prologue_that_fails_ends_the_session_with_what_it_said(hub):
    hub.extra = {"prologue": "echo no such module: root\nfalse\necho not reached"}
    code, _ = await finish(await hub.run())
    event = await hub.call("event")
    assert code == 1
    assert (event["kind"], event["log_tail"]) == ("failed", "no such module: root")
    assert "before it was ready" in event["reason"]


async def test_an_eviction_is_told_at_once_and_leaves_time_to_save(hub):
    hub.extra = {"grace": 10.5}
    agent = await hub.run()
    port = (await hub.call("ready"))["port"]
    env = (await ask(port))["env"]
    loop = asyncio.get_running_loop()
    hub.delays["event"] = 1.0  # a slow hub
    told = loop.time()
    agent.send_signal(signal.SIGTERM)
    event = await hub.call("event", limit=1)
    assert (event["kind"], event["seconds_left"]) == ("evicting", 2)
    status = await status_of(env, lambda status: status["state"] == "evicting", limit=1)
    assert "ends in 2 s" in status["notice"]
    await ask(port)  # it still answers: a notebook can be saved
    code, _ = await finish(agent)
    assert 2.3 < loop.time() - told < 8
    assert code == 128 + signal.SIGTERM
    assert [body["kind"] for name, body, _ in hub.calls if name == "event"] == ["evicting", "ended"]


@pytest.mark.parametrize(("everybody", "left"), [(True, 0), (False, 2)])
async def test_on_slurm_only_a_server_that_lives_on_is_said_to_have_time(hub, everybody, left):
    hub.extra = {"grace": 10.5}
    agent = await hub.run(ticket="t", SLURM_JOB_ID="1")
    await hub.call("ready")
    if everybody:
        for child in read(f"/proc/{agent.pid}/task/{agent.pid}/children").split():
            os.kill(int(child), signal.SIGTERM)
    agent.send_signal(signal.SIGTERM)
    event = await hub.call("event", limit=2)
    assert (event["kind"], event["seconds_left"]) == ("evicting", left)
    await finish(agent)


async def test_a_session_that_the_hub_ends_does_not_wait_for_anyone_to_save(hub):
    hub.extra = {"grace": 30}
    agent = await hub.run()
    await hub.call("ready")
    hub.statuses["event"] = [410]
    agent.send_signal(signal.SIGTERM)
    await finish(agent, limit=8)
    assert len([name for name, _, _ in hub.calls if name == "event"]) == 1


@pytest.mark.parametrize(("left", "minutes"), [(850, 15), (280, 5), (130, 3)])
@pytest.mark.parametrize("where", ["bundle", "ready"])
async def test_the_end_of_the_walltime_is_announced(hub, left, minutes, where):
    if where == "bundle":
        hub.extra["ends_in"] = left
    else:
        hub.answers["ready"] = {"ends_in": left}
    agent = await hub.run()
    env = (await ask((await hub.call("ready"))["port"]))["env"]
    status = await status_of(env, lambda status: status["notice"])
    assert f"ends in {minutes} minutes" in status["notice"]
    assert abs(status["ends_at"] - time.time() - left) < 10
    await stop(agent)


async def test_no_end_is_announced_while_it_is_far_or_unknown(hub):
    hub.extra["ends_in"] = 3600
    agent = await hub.run()
    env = (await ask((await hub.call("ready"))["port"]))["env"]
    status = await status_of(env, lambda status: status["state"] == "running")
    assert status["notice"] == ""
    await stop(agent)


@pytest.mark.parametrize("hub", [{"server_mode": "killed"}], indirect=True)
async def test_a_server_that_was_killed_is_said_to_be(hub):
    code, _ = await finish(await hub.run())
    assert code == 137
    event = await hub.call("event")
    assert event["kind"] == "failed"
    assert "memory" in event["reason"]


async def test_a_hub_that_restarts_while_the_job_begins_loses_no_session(hub):
    port = hub.port
    hub.server.stop()
    agent = await hub.run()
    await asyncio.sleep(1.0)
    hub.server = HTTPServer(hub.server.request_callback)
    hub.server.listen(port, "127.0.0.1")
    await hub.call("ready")
    await stop(agent)


def test_the_bootstrap_waits_for_a_hub_that_restarts(monkeypatch):
    slept = []
    clock = SimpleNamespace(sleep=slept.append)
    monkeypatch.setitem(sys.modules, "time", clock)
    code = bootstrap.bootstrap_code("http://127.0.0.1:9/hub/api/roost/v1/", "0" * 32, "0" * 64)
    with pytest.raises(SystemExit) as ended:
        exec(compile(code, "bootstrap", "exec"), {})
    assert ended.value.code == 75
    assert 60 < sum(slept[:-1]) < 300


# -- internal TLS ----------------------------------------------------------------------------------


@pytest.fixture
def tls_hub(hub, tmp_path):
    location = str(tmp_path / "internal-ssl")
    certipy = Certipy(store_dir=location)
    bundles = certipy.trust_from_graph({"notebooks-ca": ["hub-ca"]})
    hub.files = tls.session_files(
        tls.authority(location),
        tls.trust(bundles),
        mark="roost/" + "0" * 32,
        names=["localhost", "hub.example.org", "192.0.2.1"],
    )
    hub.extra["files"] = hub.files
    hub.env = {**tls.ENVIRONMENT, "JUPYTERHUB_SERVICE_URL": "https://0.0.0.0:0/user/alice/"}
    hub.proxy = certipy.create_signed_pair("proxy", "hub-ca")["files"]
    hub.neighbour = certipy.create_signed_pair("user-bob", "notebooks-ca")["files"]
    hub.notebooks_ca = certipy.store.get_record("notebooks-ca")["files"]["cert"]
    return hub


def over_tls(hub, port, pair=None):
    context = ssl.create_default_context(cafile=hub.notebooks_ca)
    if pair:
        context.load_cert_chain(pair["cert"], pair["key"])
    url = f"https://localhost:{port}/user/alice/"
    with urllib.request.urlopen(url, timeout=5, context=context) as answer:
        return json.loads(answer.read())


async def test_under_internal_tls_the_server_answers_hub_and_agent_and_nobody_else(tls_hub):
    agent = await tls_hub.run()
    port = (await tls_hub.call("ready"))["port"]
    seen = await asyncio.to_thread(over_tls, tls_hub, port, tls_hub.proxy)
    key = Path(seen["env"]["JUPYTERHUB_SSL_KEYFILE"])
    assert mode(key) == 0o600
    for stranger in (None, tls_hub.neighbour):
        with pytest.raises(OSError):
            await asyncio.to_thread(over_tls, tls_hub, port, stranger)
    with pytest.raises(OSError):
        await ask(port)
    await stop(agent)
    assert not exists(key)


async def test_another_server_on_the_port_is_not_taken_for_ours(tls_hub):
    tls_hub.extra["files"] = {
        **tls_hub.files,
        "tls/other.crt": read(tls_hub.neighbour["cert"]),
        "tls/other.key": read(tls_hub.neighbour["key"]),
    }
    tls_hub.env |= {
        "JUPYTERHUB_SSL_CERTFILE": "@ROOST_DIR@/tls/other.crt",
        "JUPYTERHUB_SSL_KEYFILE": "@ROOST_DIR@/tls/other.key",
    }
    agent = await tls_hub.run()
    await tls_hub.call("bundle")
    await asyncio.sleep(1.0)
    assert [name for name, _, _ in tls_hub.calls] == ["bundle"]
    await stop(agent)


# -- agents that were pinned before this hub's -----------------------------------------------------

FIRST = Path(__file__).parents[1] / "data/agents/agent-1.txt"


@pytest.mark.parametrize("with_tls", [False, True])
async def test_the_first_agent_starts_what_this_hub_gives_it(hub, with_tls, request):
    if with_tls:
        request.getfixturevalue("tls_hub")
    hub.source = FIRST.read_bytes()
    hub.extra |= {"prologue": "export FROM_PROLOGUE=yes", "ends_in": 280}
    hub.extra.setdefault("files", {})
    hub.env["WHERE"] = "@ROOST_DIR@/x"
    hub.reshape = compat.for_first_agent
    agent = await hub.run(pin=hashlib.sha256(hub.source).hexdigest())
    port = (await hub.call("ready"))["port"]
    assert {compat.agent_version(name) for name in hub.user_agents} == {1}
    if with_tls:
        until = time.monotonic() + 10
        while True:  # this agent knows of the port only, which opens before the server serves
            with contextlib.suppress(OSError):
                seen = await asyncio.to_thread(over_tls, hub, port, hub.proxy)
                break
            assert time.monotonic() < until
    else:
        seen = await ask(port)
    env = seen["env"]
    assert env["FROM_PROLOGUE"] == "yes"
    assert env["WHERE"] == str(Path(env["ROOST_STATUS_FILE"]).with_name("x"))
    assert not {"ROOST_FILES", "ROOST_PROLOGUE"} & env.keys()
    await stop(agent)


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


@pytest.mark.parametrize(
    ("own", "above", "words"),
    [
        ("134217728", "268435456", " (limit 128 MiB)"),
        ("9223372036854771712", "268435456", " (limit 256 MiB)"),  # as Slurm's steps have it
        ("max", "268435456", " (limit 256 MiB)"),
        ("max", "max", ""),
    ],
)
def test_a_limit_of_memory_is_the_nearest_that_is_one(tmp_path, own, above, words):
    step = tmp_path / "job" / "step"
    step.mkdir(parents=True)
    (step / "memory.max").write_text(own + "\n")
    (step.parent / "memory.max").write_text(above + "\n")
    assert memory_limit(str(step), "memory.max") == words
