from __future__ import annotations

import asyncio

import pytest
from roost_spawner.clusters.slurm.broker.listing import Listing, News

pytestmark = pytest.mark.unit


class Slurm:
    def __init__(self):
        self.asked = 0
        self.fails = False

    async def jobs(self):
        self.asked += 1
        await asyncio.sleep(0.02)
        if self.fails:
            raise OSError("away")
        return [{"job_id": str(self.asked)}]


async def test_many_who_ask_at_once_cost_one_query():
    slurm = Slurm()
    listing = Listing(slurm.jobs)
    await asyncio.gather(*(listing.rows() for _ in range(50)))
    assert slurm.asked == 1


async def test_after_a_submit_the_listing_is_a_new_one():
    slurm = Slurm()
    listing = Listing(slurm.jobs)
    under_way = asyncio.ensure_future(listing.rows())
    await asyncio.sleep(0)
    listing.forget()
    assert await listing.rows() == [{"job_id": "2"}]
    await under_way


async def test_a_failure_is_not_kept():
    slurm = Slurm()
    listing = Listing(slurm.jobs)
    slurm.fails = True
    with pytest.raises(OSError, match="away"):
        await listing.rows()
    slurm.fails = False
    assert await listing.rows()


def job(number, state="RUNNING"):
    return {"job_id": str(number), "state": [state]}


def test_a_hub_is_told_what_is_new():
    news = News()
    first = news.since("hub", "", [job(1), job(2)])
    assert first["whole"]
    second = news.since("hub", first["sequence"], [job(1), job(2, "FAILED"), job(3)])
    assert (second["whole"], second["gone"]) == (False, [])
    assert [item["job_id"] for item in second["jobs"]] == ["2", "3"]
    third = news.since("hub", second["sequence"], [job(3)])
    assert (third["jobs"], third["gone"]) == ([], ["1", "2"])


def test_who_missed_an_answer_or_meets_another_broker_is_told_all():
    news = News()
    first = news.since("hub", "", [job(1)])
    news.since("hub", first["sequence"], [job(1)])
    assert news.since("hub", first["sequence"], [job(1)])["jobs"] == [job(1)]
    assert News().since("hub", "from another", [job(1)])["whole"]
