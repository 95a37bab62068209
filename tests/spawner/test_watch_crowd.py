from __future__ import annotations

import asyncio
import logging

import pytest
from roost_spawner.budget import BURST
from roost_spawner.clusters.base import JobState, JobView
from roost_spawner.errors import ClusterUnreachable
from roost_spawner.sessions import Registry
from roost_spawner.watch import Watcher

pytestmark = pytest.mark.unit


class Queue:
    def __init__(self):
        self.looks = self.listings = 0
        self.down = False

    async def look(self, job_id):
        self.looks += 1
        return JobView(job_id, JobState.RUNNING)

    async def watch(self):
        self.listings += 1
        await asyncio.sleep(0.01)
        if self.down:
            raise ClusterUnreachable("The queue does not answer.")
        return {f"{n}.0": JobView(f"{n}.0", JobState.RUNNING) for n in range(200)}


@pytest.fixture
async def crowd():
    queue = Queue()
    watcher = Watcher(
        "pool", lambda: queue, Registry(), logging.getLogger(), pauses=lambda: (0.05, 0.1)
    )
    yield queue, watcher
    await watcher.close()


async def test_one_person_is_looked_for_at_once_and_a_crowd_is_served_by_one_listing(crowd):
    queue, watcher = crowd
    # A refill in the middle of it would be one look more.
    watcher.budget._every = lambda: 1000.0
    views = await asyncio.gather(*(watcher.view(f"{n}.0") for n in range(150)))
    assert [view.job_id for view in views] == [f"{n}.0" for n in range(150)]
    assert queue.looks == BURST
    assert queue.listings == 1


async def test_who_waits_for_a_listing_learns_that_the_job_is_not_there(crowd):
    queue, watcher = crowd
    watcher.budget._left = 0.0
    watcher.budget._every = lambda: 1000.0
    assert await watcher.view("999.0") is None
    assert queue.looks == 0


async def test_who_waits_for_a_listing_is_told_that_there_is_none(crowd):
    queue, watcher = crowd
    watcher.budget._left = 0.0
    watcher.budget._every = lambda: 1000.0
    queue.down = True
    with pytest.raises(ClusterUnreachable):
        await watcher.view("1.0")


async def test_who_does_not_wait_any_more_does_not_disturb_the_others(crowd):
    _, watcher = crowd
    watcher.budget._left = 0.0
    watcher.budget._every = lambda: 1000.0
    first = asyncio.ensure_future(watcher.view("1.0"))
    second = asyncio.ensure_future(watcher.view("2.0"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).job_id == "2.0"


async def test_explanations_for_a_crowd_come_out_of_the_budget(crowd):
    queue, watcher = crowd
    watcher.budget._every = lambda: 1000.0
    asked = []

    async def explain(job_id, *, may_ask):
        if may_ask(2):
            asked.append(job_id)
        return ["Because."]

    queue.explain = explain
    for number in range(150):
        assert await watcher.explain(f"{number}.0") == ["Because."]
    assert len(asked) == BURST // 2
