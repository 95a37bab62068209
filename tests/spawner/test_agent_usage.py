"""How much memory a session uses, as its agent finds out and tells."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal

import pytest
from roost_spawner import agent
from roost_spawner.bootstrap import agent_source

from tests.support.agent_hub import HubDouble

pytestmark = pytest.mark.unit

MIB = 1 << 20


@pytest.fixture
async def hub(tmp_path):
    """A hub whose agents are in a hurry."""
    source = agent_source()[0].decode()
    slow = "USAGE_FIRST, USAGE_EVERY, USAGE_AT_LEAST = 30.0, 120.0, 900.0"
    assert slow in source
    fast = source.replace(slow, "USAGE_FIRST, USAGE_EVERY, USAGE_AT_LEAST = 0.1, 0.1, 0.3")
    double = HubDouble(tmp_path, source=fast.encode())
    yield double
    double.server.stop()
    await double.server.close_all_connections()


async def begin(hub):
    running = await hub.run(pin=hashlib.sha256(hub.source).hexdigest())
    await hub.call("ready")
    return running


async def stop(running):
    running.send_signal(signal.SIGTERM)
    await asyncio.wait_for(running.communicate(), 20)


def told(hub):
    return [body for name, body, _ in hub.calls if name == "usage"]


async def test_it_is_told_again_and_again_with_the_servers_own_token(hub):
    running = await begin(hub)
    first = await hub.call("usage", 1)
    await hub.call("usage", 2)
    await stop(running)
    assert first.keys() == {"memory_mib"}
    assert 5 < first["memory_mib"] < 2000  # an agent and a small server
    tokens = {token for name, _, token in hub.calls if name in {"usage", "ready"}}
    assert len(tokens) == 1


@pytest.mark.parametrize("status", [404, 405, 410])
async def test_a_hub_that_does_not_know_the_call_is_not_asked_again(hub, status):
    hub.statuses["usage"] = [status]
    running = await begin(hub)
    await hub.call("usage")
    await asyncio.sleep(1.0)
    assert len(told(hub)) == 1
    await stop(running)


async def test_a_hub_that_is_busy_is_told_later(hub):
    hub.statuses["usage"] = [503, 429]
    running = await begin(hub)
    await hub.call("usage", 3)
    await stop(running)


def tree(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def job(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("_CONDOR_SLOT", "notebook3")


SLURM_2 = "/system.slice/slurmstepd.scope/job_12"
SLURM_1 = "/slurm/uid_1000/job_12"
CONDOR_2 = "/system.slice/htcondor/condor_var_lib_execute_notebook3@ep1.example.org"


@pytest.mark.parametrize(
    ("line", "own", "counter", "cache"),
    [
        (f"0::{SLURM_2}/step_batch/user/task_0", SLURM_2, "memory.current", "inactive_file"),
        (f"0::{CONDOR_2}", CONDOR_2, "memory.current", "inactive_file"),
        (
            f"4:memory:{SLURM_1}/step_batch",
            f"/memory{SLURM_1}",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ],
)
@pytest.mark.usefixtures("job")
def test_the_jobs_own_cgroup_counts_without_what_is_only_cache(tmp_path, line, own, counter, cache):
    tree(tmp_path, {"proc/self/cgroup": f"1:name=systemd:/x\n{line}\n"})
    tree(tmp_path / f"cgroup{own}", {counter: f"{300 * MIB}\n"})
    tree(tmp_path / f"cgroup{own}", {"memory.stat": f"anon 5\n{cache} {100 * MIB}\n"})
    assert agent.memory_used(str(tmp_path / "proc"), str(tmp_path / "cgroup")) == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/system.slice/slurmd.service", "/job_123/x", "/htcondor/condor_execute_notebook33@ep1"],
)
@pytest.mark.usefixtures("job")
def test_a_cgroup_that_may_hold_strangers_is_not_ours(tmp_path, path):
    tree(tmp_path, {"proc/self/cgroup": f"0::{path}\n"})
    tree(tmp_path / f"cgroup{path}", {"memory.current": f"{300 * MIB}", "memory.stat": "anon 5\n"})
    me, child, grandchild, stranger = os.getpid(), 100_001, 100_002, 100_003
    for pid, parent, pss in (
        (me, 1, 30),
        (child, me, 20),
        (grandchild, child, 10),
        (stranger, 1, 500),
    ):
        tree(
            tmp_path / f"proc/{pid}",
            {
                "stat": f"{pid} (a) b) S {parent} 1 1",
                "smaps_rollup": f"5-6 ---p 0 0 0 [rollup]\nRss: 9 kB\nPss: {pss * 1024} kB\n",
            },
        )
    assert agent.memory_used(str(tmp_path / "proc"), str(tmp_path / "cgroup")) == 60


def test_an_old_kernel_tells_what_a_process_has_in_memory(tmp_path):
    pages = 10 * MIB // os.sysconf("SC_PAGE_SIZE")
    tree(tmp_path / "7", {"statm": f"99999 {pages} 0 0 0 0 0"})
    assert agent.memory_of(str(tmp_path), "7") == 10 * 1024
    assert agent.memory_of(str(tmp_path), "8") == 0
