"""The worker process itself: htcondor2 runs in it for real, against ports that do not answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from roost_spawner.clusters.htcondor.channel import _USERS_AT_ONCE, CallFailed, Channel
from roost_spawner.clusters.htcondor.pool import HTCondorPool
from roost_spawner.errors import ClusterUnreachable

pytestmark = pytest.mark.unit

LOG = logging.getLogger("test")
SECRET = "eyJ0aGlz.aXM.YS1zZWNyZXQ"


@pytest.fixture
def silent_port():
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"127.0.0.1:{port}"


@pytest.fixture
async def channel(silent_port, tmp_path):
    """A channel to a real worker whose daemons do not answer."""
    (tmp_path / "token").write_text("not a token\n")
    settings = {"collector": silent_port, "schedd": "ap", "watch_token": str(tmp_path / "token")}
    found = Channel(settings, LOG)
    yield found
    await found.close()


def folders():
    return set(Path("/tmp").glob("roost-htcondor-*"))


def goal(link):
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed since it was listed
        return ""


def runs(pid):
    return Path(f"/proc/{pid}").exists()


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def seen_by_others(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()


async def until(good, seconds=10):
    end = time.monotonic() + seconds
    while not (found := good()):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    return found


def submit_as_user(channel, port, within):
    return channel.call(
        "jobs",
        within=within,
        token=SECRET,
        address=f"<{port}>",
        constraint="true",
        projection=["ClusterId"],
    )


async def test_a_crowd_of_users_waits_for_turns_and_the_watcher_does_not(channel, silent_port):
    crowd = [
        asyncio.ensure_future(submit_as_user(channel, silent_port, 1.0))
        for _ in range(_USERS_AT_ONCE + 5)
    ]
    await asyncio.sleep(0)
    assert await channel.call("nothing", within=5, lane="look")
    assert len(channel._waiting) == _USERS_AT_ONCE
    failures = await asyncio.gather(*crowd, return_exceptions=True)
    assert {failure.kind for failure in failures} == {"timeout"}


async def test_a_daemon_that_says_nothing_costs_its_time_limit_and_no_more(channel):
    began = time.monotonic()
    with pytest.raises(CallFailed) as failed:
        await channel.call("locate", within=0.5, lane="look")
    assert failed.value.kind == "timeout"
    assert time.monotonic() - began < 4


async def test_a_lane_that_hangs_holds_up_neither_another_lane_nor_a_user(channel, closed_port):
    hanging = asyncio.create_task(channel.call("locate", within=8, lane="watch"))
    began = time.monotonic()
    with pytest.raises(CallFailed) as failed:
        await submit_as_user(channel, closed_port, 8)
    assert failed.value.kind == "htcondor"
    assert time.monotonic() - began < 5
    hanging.cancel()
    with contextlib.suppress(asyncio.CancelledError, CallFailed):
        await hanging


async def test_a_users_token_is_in_no_argument_environment_or_file(channel, silent_port):
    call = asyncio.create_task(submit_as_user(channel, silent_port, 3))
    worker = (await until(lambda: channel._process)).pid
    child = (await until(lambda: children(worker)))[0]
    await until(lambda: any("socket:" in goal(fd) for fd in descriptors(child)))
    for pid in (worker, child):
        assert SECRET.encode() not in seen_by_others(pid)
    stderr = goal(descriptor_of(child, 2))  # the hub's log
    for descriptor in descriptors(child):
        assert goal(descriptor).startswith(("pipe:", "socket:", "/dev/", "anon", stderr))
    with pytest.raises(CallFailed) as failed:
        await call
    assert SECRET not in str(failed.value)
    await until(lambda: not runs(child))


def descriptor_of(pid, number):
    return Path(f"/proc/{pid}/fd/{number}")


def descriptors(pid):
    with contextlib.suppress(FileNotFoundError):
        return list(Path(f"/proc/{pid}/fd").iterdir())
    return []


async def test_each_call_as_a_user_has_a_process_of_its_own(channel, silent_port):
    calls = [asyncio.create_task(submit_as_user(channel, silent_port, 2)) for _ in range(3)]
    worker = (await until(lambda: channel._process)).pid
    await until(lambda: len(children(worker)) == 3)
    for call in calls:
        with pytest.raises(CallFailed):
            await call
    assert not children(worker)


async def test_a_worker_that_dies_fails_its_calls_at_once_and_is_replaced(channel):
    call = asyncio.create_task(channel.call("locate", within=20, lane="look"))
    worker = (await until(lambda: channel._process)).pid
    await until(lambda: children(worker))
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(CallFailed) as failed:
        await call
    assert failed.value.kind == "died"
    with pytest.raises(CallFailed) as failed:
        await channel.call("locate", within=0.3, lane="look")
    assert failed.value.kind == "timeout"
    assert channel._process.pid != worker


async def test_a_worker_that_hangs_itself_is_killed(monkeypatch):
    monkeypatch.setattr("roost_spawner.clusters.htcondor.channel._GRACE", 0.3)
    channel = Channel({}, LOG, command=(sys.executable, "-c", "import time; time.sleep(60)"))
    call = asyncio.create_task(channel.call("locate", within=0.2, lane="look"))
    process = await until(lambda: channel._process)
    with pytest.raises(CallFailed) as failed:
        await call
    assert failed.value.kind == "timeout"
    assert await process.wait() == -signal.SIGKILL
    await channel.close()


async def test_a_worker_that_talks_nonsense_is_replaced():
    program = "import sys; sys.stdin.readline(); print('hello', flush=True); sys.stdin.read()"
    channel = Channel({}, LOG, command=(sys.executable, "-c", program))
    with pytest.raises(CallFailed) as failed:
        await channel.call("locate", within=5, lane="look")
    assert failed.value.kind == "died"
    await channel.close()


async def test_a_large_answer_arrives_whole():
    program = (
        "import sys, json; sys.stdin.readline();"
        "n = json.loads(sys.stdin.readline())['id'];"
        "print(json.dumps({'id': n, 'ok': 'x' * 5000000}), flush=True); sys.stdin.read()"
    )
    channel = Channel({}, LOG, command=(sys.executable, "-c", program))
    assert len(await channel.call("jobs", within=10, lane="watch")) == 5_000_000
    await channel.close()


async def test_closing_leaves_no_process_and_no_folder(channel):
    with pytest.raises(CallFailed):
        await channel.call("locate", within=0.3, lane="look")
    worker = channel._process.pid
    before = folders()
    assert before
    await channel.close()
    assert not runs(worker)
    assert folders() < before


async def test_a_pool_that_does_not_answer_is_unreachable_with_a_sentence(closed_port, tmp_path):
    (tmp_path / "token").write_text("not a token\n")
    pool = HTCondorPool(
        name="naf",
        hub_id="hub",
        collector=closed_port,
        schedd="ap",
        audience="https://ap:9618",
        watch_token=tmp_path / "token",
        timeout=5,
    )
    for ask in (pool.watch, pool.capacity, lambda: pool.look("1.0"), lambda: pool.explain("1.0")):
        with pytest.raises(ClusterUnreachable, match="naf does not answer"):
            await ask()
    await pool.close()


@pytest.mark.parametrize("job_id", ["1", "1.0 || true", "", "1.0.0", "-1.0", "a.b"])
async def test_a_job_id_that_is_none_never_reaches_a_query(job_id, tmp_path):
    pool = HTCondorPool(
        name="naf", hub_id="h", collector="c", schedd="s", audience="a", watch_token=tmp_path
    )
    with pytest.raises(ValueError):
        await pool.look(job_id)
    with pytest.raises(ValueError):
        await pool.cancel(job_id, token=SECRET)
    assert pool._channel._process is None
    assert SECRET not in json.dumps(pool._channel._settings)
