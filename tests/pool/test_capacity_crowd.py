"""Many people look at what is free: counted where the questions arrive."""

from __future__ import annotations

import asyncio
import logging
import re
import time

import pytest
from roost_spawner.capacity import CapacityCache

from tests.support.condor import PoolTalk
from tests.support.slurm import SlurmTalk

pytestmark = pytest.mark.pool

LOOKERS = 200
AGE, FOR = 3.0, 10.0
"""Seconds: how old a capacity may be, and how long they look."""
MOST = 1 + int(FOR / AGE)
"""Questions that one looker would cost in this time."""
OTHERS = 3
"""Questions of the testbed's own hub meanwhile, which the collector counts too."""


async def crowd(cluster):
    """Let people look, as pages do: each some times a second.  Return what they have seen."""
    cache = CapacityCache(
        lambda: cluster, max_age=lambda: AGE, may_ask=lambda: True, log=logging.getLogger()
    )
    end = time.monotonic() + FOR
    seen = set()

    async def person():
        while time.monotonic() < end:
            sample = await cache.look(5.0)
            assert sample is not None
            assert not sample.problem
            seen.add(sample.at)
            await asyncio.sleep(0.3)

    await asyncio.gather(*(person() for _ in range(LOOKERS)))
    await cache.close()
    return seen


def collector_questions(site):
    """Return how many queries of clients the collector has answered so far, this one included."""
    ads = site.hosts["cm"].run(["condor_status", "-collector", "-l", "-statistics", "COLLECTOR:3"])
    found = re.findall(r"^(?:Fork|InProc)QueriesFromTOOL = (\d+)", ads.stdout, re.MULTILINE)
    assert len(found) == 2, "the collector does not count its queries"
    return sum(map(int, found))


async def test_two_hundred_who_look_cost_the_collector_no_more_than_one(testbed):
    talk = PoolTalk(testbed)
    try:
        await talk.pool.capacity()
        before = collector_questions(testbed)
        seen = await crowd(talk.pool)
        # The second reading counts itself.
        questions = collector_questions(testbed) - before - 1
    finally:
        await talk.pool.close()
    assert 2 < len(seen) <= MOST
    assert len(seen) <= questions <= MOST + OTHERS


async def test_two_hundred_who_look_cost_slurmctld_no_more_than_one(testbed):
    talk = SlurmTalk(testbed)
    try:
        await talk.pool.capacity()
        await talk.admin("sdiag", "--reset")
        seen = await crowd(talk.pool)
        said = await talk.admin("sdiag")
    finally:
        await talk.close()
    calls = dict(re.findall(r"(REQUEST_\w+) +\( *\d+\) count:(\d+)", said))
    assert len(seen) > 2
    # The first may have been served by what the broker asked a second ago.
    nodes = int(calls["REQUEST_NODE_INFO"])
    assert len(seen) - 1 <= nodes <= MOST
    # slurmrestd asks for the partitions with each question for nodes; we do every 15 s.
    assert int(calls["REQUEST_PARTITION_INFO"]) <= nodes + 1
