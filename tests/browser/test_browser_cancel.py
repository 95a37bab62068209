"""A start that is cancelled on the pending page leaves no job, and the home page says so."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.support.ground import HTCONDOR, SLURM
from tests.support.guest import until

pytestmark = pytest.mark.browser


@pytest.fixture
async def pool(ground):
    """The pool, with its doors open afterwards, and nothing of alice's in it."""
    ground.furnish("alice")
    yield ground
    ground.strip("alice")
    await ground.open(HTCONDOR, SLURM)
    await ground.clear()


def log(page):
    return page.get_by_role("log")


async def nothing_is_left(pool, server):
    """Wait until the hub has seen the end of the session, which is after any submit."""

    async def gone():
        return not pool.records().get(("alice", server)) and not await pool.left()

    await until(gone, "neither job nor record is left", 60)


@pytest.mark.parametrize(("kind", "server"), [(HTCONDOR, ""), (SLURM, "two")])
@pytest.mark.parametrize("moment", ["click", "queued", "starting"])
async def test_a_start_cancelled_on_its_page_leaves_no_job(
    pool, page, shot, choose, press_start, kind, server, moment
):
    if moment == "starting":
        pool.sign("alice", server, "wait").touch()
    await choose(kind, server)
    if moment == "queued":
        # Not before: a profile that leads nowhere cannot be chosen.
        await pool.close(kind)
    await press_start()
    if moment == "queued":
        await expect(log(page)).to_contain_text("is in the queue", timeout=30_000)
        assert [job.owner for job in await pool.left()] == ["alice"]
    if moment == "starting":
        await expect(log(page)).to_contain_text("Your job runs on", timeout=60_000)
    name = f"11-{moment}-{kind}"
    await shot(page, f"{name}-1-pending")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#word")).to_have_text("Cancelling the start …")
    await shot(page, f"{name}-2-cancelling")
    await page.wait_for_url(re.compile("/hub/home$"), timeout=90_000)
    whose = f"Your server “{server}”" if server else "Your server"
    word = page.get_by_text(f"The start was cancelled. {whose} does not run.", exact=True)
    await expect(word).to_be_visible()
    await shot(page, f"{name}-3-home")
    await nothing_is_left(pool, server)
    await page.reload()
    await expect(word).to_be_hidden()


async def test_a_cancel_that_fails_is_told_and_can_be_tried_again(pool, page, shot, click_start):
    await pool.close(HTCONDOR)
    await click_start(HTCONDOR)
    await expect(log(page)).to_contain_text("is in the queue", timeout=30_000)
    refuse = {"status": 403, "json": {"status": 403, "message": "Your login is too old"}}
    api = re.compile("/hub/api/users/alice/server[?]")
    await page.route(api, lambda route: route.fulfill(**refuse))
    cancel = page.get_by_role("button", name="Cancel")
    await cancel.click()
    word = "The start could not be cancelled: Your login is too old."
    await expect(page.locator("#word")).to_have_text(word)
    await shot(page, "11-cancel-refused")
    await page.unroute(api)
    await cancel.click()
    await page.wait_for_url(re.compile("/hub/home$"), timeout=90_000)
    await nothing_is_left(pool, "")


async def home_says_that_it_was_cancelled(page):
    await page.wait_for_url(re.compile("/hub/home$"), timeout=120_000)
    await expect(page.get_by_text("The start was cancelled.")).to_be_visible()


async def test_a_start_that_an_earlier_hub_began_is_cancelled_like_any_other(
    pool, page, click_start
):
    await pool.close(HTCONDOR)
    await click_start(HTCONDOR)
    await expect(log(page)).to_contain_text("is in the queue", timeout=30_000)
    (job,) = await pool.left()
    await pool.kill_hub()
    await pool.start("hub")
    await expect(log(page)).to_contain_text("Yours is the next notebook", timeout=60_000)
    assert await pool.left() == [job]
    await page.get_by_role("button", name="Cancel").click()
    await home_says_that_it_was_cancelled(page)
    await nothing_is_left(pool, "")


async def test_a_start_cancelled_while_the_scheduler_is_away_leaves_no_job_once_it_is_back(
    pool, page, shot, click_start
):
    await pool.close(HTCONDOR)
    await click_start(HTCONDOR)
    await expect(log(page)).to_contain_text("is in the queue", timeout=30_000)
    assert len(await pool.left()) == 1
    async with pool.away("schedd"):
        await page.get_by_role("button", name="Cancel").click()
        await home_says_that_it_was_cancelled(page)
        await shot(page, "11-cancelled-scheduler-away")
    await nothing_is_left(pool, "")
