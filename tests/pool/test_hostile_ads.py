"""A job that poisons its own ad, every attribute that the hub reads in turn."""

from __future__ import annotations

import asyncio
import time

import pytest
from roost_spawner.clusters.base import JobState
from roost_spawner.clusters.htcondor import explain, states
from roost_spawner.site.loader import load_site

from tests.support.condor import PoolTalk

pytestmark = pytest.mark.pool

# The state last: with that the job may end its own session, as it may otherwise.
NAMES = [*sorted({*states.PROJECTION, *explain.JOB_PROJECTION} - {"JobStatus"}), "JobStatus"]
# Writes each poison into each attribute, waits to be looked at, and leaves the last one there.
CELL = r"""
import os, pathlib, socket, time
names = {names!r}
deep = b"(" * 500 + b"1" + b")" * 500
lists = b"{{" * 200 + b"1" + b"}}" * 200
CHAIN = b"Chain12"
poisons = [
    b'"\xff\xfe\x80"', lists, b"9223372036854775807", b"-1", b"1.5e308", b"undefined", b"error",
    b"true", b"[x = 1]", b'"' + b"a" * 4000 + b'"', b'"forged\\nline"', b'real("NaN")',
    b"MY.ClusterId", b"time()", CHAIN, deep,
]
place = os.environ["_CONDOR_SCRATCH_DIR"] + "/.chirp.config"
host, port, cookie = open(place).read().split()
line = socket.create_connection((host, int(port))).makefile("rwb")
def say(text):
    line.write(text + b"\n"); line.flush()
    return int(line.readline())
say(b"cookie " + cookie.encode())
# 16 MiB of text, if anybody evaluates the last of them.
say(b'set_job_attr Chain0 "x"')
for i in range(1, 13):
    last = b"Chain%d" % (i - 1)
    assert say(b"set_job_attr Chain%d strcat(" % i + b",".join([last] * 4) + b")") == 0
taken = open(os.path.expanduser("~/poisoned"), "w", buffering=1)
# The chain stays for many looks: each that follows it takes 10 s and more.
say(b"set_job_attr NumJobStarts " + CHAIN); time.sleep(25)
for name in names:
    for poison in poisons:
        if say(b"set_job_attr " + name.encode() + b" " + poison) == 0:
            taken.write(name + "\n")
            time.sleep(0.02)
"""


async def fate(talk, job_id):
    """Return how a job ended, once the history has it."""
    end = time.monotonic() + 60
    while (view := await talk.pool.fate(job_id)) is None:
        assert time.monotonic() < end, f"the history has nothing of {job_id}"
        await asyncio.sleep(0.5)
    return view


async def test_a_job_that_poisons_its_own_ad_costs_no_other_session_its_status(
    testbed, alice, bob, mallory
):
    talk = PoolTalk(testbed)
    talk.pool._hub_id = load_site(testbed.repository / "hub-config/site.yaml").hub_id
    await asyncio.gather(alice.start("interactive"), bob.start("interactive"))
    before = len(mallory.hub_log())
    jobs = {name: mallory.record(name)["job_id"] for name in ("alice", "bob")}
    poisoning = asyncio.create_task(alice.run(CELL.format(names=NAMES), limit=200))
    looks = []

    async def look():
        began = time.monotonic()
        views = await talk.pool.watch()
        looks.append(time.monotonic() - began)
        assert set(jobs.values()) <= set(views)
        assert views[jobs["bob"]].state is JobState.RUNNING
        assert views[jobs["bob"]].owner == "bob"
        assert views[jobs["alice"]].owner == "alice"
        return views[jobs["alice"]]

    try:
        while not poisoning.done():
            await look()
            await talk.pool.look(jobs["alice"])
            assert (await talk.pool.capacity()).by == "slot"
            await talk.pool.explain(jobs["alice"])
        await asyncio.gather(poisoning, return_exceptions=True)
        taken = sorted(set(testbed.hosts["ep1"].read("/home/alice/poisoned").split()))
        print(f"{len(looks)} looks, the longest {max(looks):.2f} s; written: {taken}")
        assert {"VacateReason", "HoldReason", "RoostKeyHash"} <= set(taken)
        slow = [f"{took:.1f}" for took in looks if took > 5]
        print(f"slow looks: {slow}")
        assert len(slow) <= 1

        # With the poisoning longer than until a hub says that a cluster does not answer (35 s).
        end = time.monotonic() + 20
        while time.monotonic() < end:
            _, status = await bob.api("GET", "roost/v1/servers/bob")
            assert status["reachable"]
            assert status["state"] == "running"
            await asyncio.sleep(2)
        said = mallory.hub_log()[before:].splitlines()
        odd = [line for line in said if f"Job {jobs['alice']}: " in line]
        assert len(odd) == 1, odd
        assert await bob.run("print(6 * 7)") == ["42"]

        # The history is one file for all: what comes after a poisoned ad is still found.
        wish = talk.wish("import sys; sys.exit(3)")
        before_it = await talk.pool.submit(wish, token=talk.token("bob"))
        view = await fate(talk, before_it)
        assert "status 3" in view.reason
        await alice.stop()
        assert (await fate(talk, jobs["alice"])).owner == "alice"
        began = time.monotonic()
        assert (await fate(talk, before_it)).reason == view.reason
        print(f"a fate behind a poisoned one took {time.monotonic() - began:.2f} s")
    finally:
        await talk.pool.close()
