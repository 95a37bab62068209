"""A node that does not know an account is noticed within seconds, named, and avoided."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.pool import start_startd, stop_startd

pytestmark = [pytest.mark.pool, pytest.mark.long]


@pytest.fixture
def only_ep2(testbed):
    """Have ep2 alone in the pool, and no account of alice's on it."""
    ep2 = testbed.hosts["ep2"]
    known = ep2.run(["cat", "/etc/passwd"]).stdout
    ep2.run(["sed", "-i", "/^alice:/d", "/etc/passwd"])
    stop_startd(testbed, "ep1")
    back = []

    def bring_ep1() -> None:
        if not back:
            back.append(True)
            start_startd(testbed, "ep1")

    yield bring_ep1
    ep2.run(["sh", "-c", "cat > /etc/passwd"], input=known)
    bring_ep1()


async def test_a_node_without_the_account_is_named_at_once_and_the_session_starts_elsewhere(
    testbed, alice, mallory, queue, only_ep2
):
    began = time.monotonic()
    start = asyncio.create_task(alice.start("interactive"))
    log = await mallory.until(lambda: said(mallory.hub_log()), limit=25)
    noticed = time.monotonic() - began
    await asyncio.to_thread(only_ep2)
    ready = await start
    assert "ep2.roost.test could not start job" in log
    assert noticed < 15
    told = [line for line in ready.messages if "could not start your job" in line]
    known = "your account may not be known there. Another node is tried."
    assert told == [f"ep2.roost.test could not start your job; {known}"]
    record = mallory.records("alice")[-1]
    assert record["node"] == "ep1.roost.test"
    slots = testbed.hosts["cm"].run(
        ["condor_status", "-constraint", 'State == "Claimed"', "-af", "Machine"]
    )
    assert slots.stdout.split() == ["ep1.roost.test"]
    live = [job for job in queue("Owner", "JobStatus") if job["JobStatus"] in (1, 2)]
    assert [job["Owner"] for job in live] == ["alice"]


def said(log: str) -> str:
    return next((line for line in log.splitlines() if "could not start job" in line), "")
