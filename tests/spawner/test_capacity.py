from __future__ import annotations

import asyncio
import logging

import pytest
from roost_spawner import capacity
from roost_spawner.capacity import CapacityCache, Sample, with_problem
from roost_spawner.clusters.base import Capacity, Pool, Resources, Room
from roost_spawner.errors import ClusterUnreachable, SiteError
from roost_spawner.outlook import Starts, outlook_of

pytestmark = pytest.mark.unit


def test_several_partitions_are_one_place():
    room, large = Room(2, 8, 1000), Room(1, 64, 9000)
    down = Pool(10, 10, problem="The partition takes no new jobs.")
    capacity_of = Capacity(
        {
            "gpu": Pool(16, 4, gpus_total=2, rooms=(room,), waiting=7, max_walltime_s=3600),
            "cpu": Pool(64, 9, rooms=(large,), waiting=1, next_end_at=5.0, max_walltime_s=7200),
            "down": down,
        }
    )

    def of(partition):
        return capacity_of.of(Resources(1, 1, 60, partition=partition))

    both = of("gpu,cpu")
    assert (both.total, both.free, both.gpus_total, both.waiting) == (80, 13, 2, 1)
    assert both.rooms == (room, large)
    assert (both.next_end_at, both.max_walltime_s, both.problem) == (5.0, 7200, "")
    assert of("gpu,down").free == 4
    assert of("down,none") == down
    assert of("none,other") is None


class Cluster:
    name = "pool"

    def __init__(self, free=0):
        self.free, self.asked = free, 0
        self.failure: Exception | None = None
        self.hang = asyncio.Event()
        self.hang.set()

    async def capacity(self):
        self.asked += 1
        await self.hang.wait()
        if self.failure:
            raise self.failure
        return Capacity({"reserved": Pool(40, self.free)}, by="slot")


class Ground:
    """A cache whose clock, cluster and budget the test has in its hands."""

    def __init__(self, monkeypatch):
        self.cluster = Cluster(12)
        self.now = 1000.0
        self.budget = True
        monkeypatch.setattr(capacity, "time", self)
        self.cache = CapacityCache(
            lambda: self.cluster,
            max_age=lambda: 10.0,
            may_ask=lambda: self.budget,
            log=logging.getLogger(),
        )

    def time(self):
        return self.now

    monotonic = time

    async def seen(self, later=0.0):
        """Look after a while, and once more when the cluster has answered."""
        self.now += later
        self.cache.glance()
        if self.cache._asking:
            await self.cache._asking
            await asyncio.sleep(0)
        return self.cache._sample


@pytest.fixture
async def ground(monkeypatch):
    found = Ground(monkeypatch)
    yield found
    await found.cache.close()


async def test_many_who_look_cost_one_question(ground):
    samples = await asyncio.gather(*(ground.cache.look(5.0) for _ in range(200)))
    assert {sample.capacity.pools["reserved"].free for sample in samples} == {12}
    for _ in range(100):
        await ground.seen(later=0.099)
    assert ground.cluster.asked == 1
    await ground.seen(later=0.2)
    assert ground.cluster.asked == 2


async def test_nobody_who_looks_costs_nothing(ground):
    await ground.seen()
    ground.now += 3600
    await asyncio.sleep(0.02)
    assert ground.cluster.asked == 1


async def test_a_look_does_not_wait_for_longer_than_told(ground):
    ground.cluster.hang.clear()
    assert await ground.cache.look(0.01) is None
    ground.cluster.hang.set()
    assert (await ground.cache.look(5.0)).capacity is not None


async def test_nobody_waits_for_an_answer_that_is_only_a_little_old(ground):
    await ground.seen()
    ground.cluster.hang.clear()
    ground.now += 11
    assert (await ground.cache.look(3600.0)).capacity is not None


async def test_the_first_who_looks_after_a_long_while_is_not_told_what_was_then(ground):
    await ground.seen()
    ground.now += 600
    ground.cluster.free = 3
    assert (await ground.cache.look(5.0)).capacity.pools["reserved"].free == 3


async def test_a_cluster_that_is_away_says_so_and_is_asked_again(ground):
    ground.cluster.failure = ClusterUnreachable("It does not answer.")
    sample = await ground.seen()
    assert (sample.capacity, sample.problem) == (None, "It does not answer.")
    assert (await ground.seen(later=5)).problem
    assert ground.cluster.asked == 1
    ground.cluster.failure = None
    assert (await ground.seen(later=6)).capacity is not None


async def test_the_last_answer_stays_for_a_while_with_its_own_time(ground):
    at = (await ground.seen()).at
    ground.cluster.failure = ClusterUnreachable("It does not answer.")
    sample = await ground.seen(later=60)
    assert (sample.at, sample.problem) == (at, "It does not answer.")
    assert sample.capacity is not None
    sample = await ground.seen(later=600)
    assert (sample.at, sample.capacity) == (ground.now, None)


async def test_what_was_not_foreseen_is_logged_and_told_without_its_text(ground, caplog):
    ground.cluster.failure = KeyError("a secret word")
    sample = await ground.seen()
    assert sample.problem == "What is free cannot be told at the moment."
    assert "The capacity of cluster pool could not be read" in caplog.text


async def test_a_spent_budget_leaves_the_last_answer(ground):
    await ground.seen()
    ground.budget = False
    assert (await ground.seen(later=60)).capacity is not None
    assert ground.cluster.asked == 1
    ground.budget = True
    await ground.seen()
    assert ground.cluster.asked == 2


async def test_a_cluster_that_the_site_file_changed_is_asked_at_once(ground):
    await ground.seen()
    ground.cluster = Cluster(free=7)
    assert ground.cache.glance() is None
    assert (await ground.seen()).capacity.pools["reserved"].free == 7


async def test_the_answer_of_a_cluster_that_was_replaced_meanwhile_does_not_count(ground):
    old = ground.cluster
    old.hang.clear()
    ground.cache.glance()
    ground.cluster = Cluster(free=7)
    ground.cache.glance()
    await asyncio.sleep(0)
    old.hang.set()
    await ground.cache._asking
    await asyncio.sleep(0)
    assert (await ground.seen()).capacity.pools["reserved"].free == 7


async def test_a_cluster_that_never_was_is_an_error(ground):
    def none():
        raise SiteError("There is no cluster.")

    ground.cache._cluster = none
    with pytest.raises(SiteError):
        ground.cache.glance()


async def test_one_who_looks_costs_as_much_as_many_and_nobody_costs_nothing(ground):
    async def pass_time():
        """Let ten seconds pass, until the timer that was set."""
        timer, ground.cache._next = ground.cache._next, None
        assert timer.when() - asyncio.get_running_loop().time() == pytest.approx(10, abs=0.5)
        timer.cancel()
        ground.now += 10.1
        ground.cache._again()
        if ground.cache._asking:
            await ground.cache._asking
            await asyncio.sleep(0)
        return ground.cluster.asked

    await ground.cache.look(5.0)
    await asyncio.sleep(0)
    assert await pass_time() == 2
    await ground.cache.look(5.0)
    assert await pass_time() == 3
    # The last look was ten seconds ago, and then there is none.
    assert await pass_time() == 3
    assert ground.cache._next is None


async def test_a_scrape_is_nobody_who_looks(ground):
    await ground.seen()
    assert ground.cache._next is None


def test_what_is_free_promises_nothing_while_the_queue_does_not_answer():
    free = Sample(5.0, Capacity({"reserved": Pool(40, 12, unit="slots")}, by="slot"))
    away = with_problem(free, "Cluster pool does not answer at the moment.", 9.0)
    wanted = Resources(1, 1, 60, slot="reserved")
    card = outlook_of(away, wanted, now=9.0)
    assert (card.starts, card.why) == (
        Starts.UNKNOWN,
        "Cluster pool does not answer at the moment.",
    )
    assert outlook_of(free, wanted, now=9.0).starts is Starts.NOW
    assert with_problem(free, "", 9.0) is free
    assert with_problem(None, "Away.", 9.0) == Sample(9.0, None, "Away.")
    assert with_problem(away, "Away.", 9.0).problem.startswith("Cluster pool")
