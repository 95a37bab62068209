"""The pending page: each sentence once, whatever happens to the hub; a failure that can be read."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.support.ground import HTCONDOR

pytestmark = pytest.mark.browser


@pytest.fixture
async def pool(ground):
    """The pool, with its doors open afterwards, and all services there."""
    ground.furnish("alice")
    yield ground
    ground.strip("alice")
    await ground.open(HTCONDOR)
    for service in ("schedd", "hub"):
        await ground.start(service)


async def lines(page):
    return await page.get_by_role("log").get_by_role("listitem").all_inner_texts()


async def test_the_page_outlives_the_hub_and_says_each_sentence_once(
    testbed, pool, page, shot, click_start
):
    await pool.close(HTCONDOR)
    await click_start(HTCONDOR)
    log = page.get_by_role("log")
    await expect(log).to_contain_text("is in the queue", timeout=30_000)
    before = await lines(page)
    await pool.stop("hub")
    await expect(page.locator("#word")).to_contain_text("The hub does not answer", timeout=30_000)
    await shot(page, "12-pending-hub-away")
    assert set(before) <= set(await lines(page))
    await pool.start("hub")
    await expect(page.locator("#word")).to_be_empty(timeout=30_000)
    await pool.open(HTCONDOR)
    await expect(log).to_contain_text("Your job runs on", timeout=60_000)
    said = await lines(page)
    assert len(said) == len(set(said))
    await page.wait_for_url(re.compile("/user/alice/lab"), timeout=90_000)


async def test_the_page_says_that_the_scheduler_is_away(pool, page, shot, click_start):
    await pool.stop("schedd")
    await click_start(HTCONDOR)
    await expect(page.get_by_role("log")).to_contain_text("does not answer", timeout=60_000)
    await shot(page, "12-pending-scheduler-away")
    await pool.start("schedd")
    await page.wait_for_url(re.compile("/user/alice/lab"), timeout=90_000)


async def test_a_start_that_fails_says_why_where_it_can_be_read(pool, page, shot, click_start):
    pool.sign("alice", "", "crash").touch()
    await click_start(HTCONDOR)
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("do not fit together", timeout=60_000)
    await expect(page.get_by_role("heading", name="Your server has not started")).to_be_visible()
    await shot(page, "12-pending-failed")
    text = await page.locator("body").inner_text()
    assert text.count("do not fit together") == 1
    assert text.count("server ended with status 3") == 1
    await expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    await expect(page.get_by_role("link", name="Home", exact=True).last).to_be_visible()
    await page.get_by_role("link", name="Try again").click()
    await expect(page.get_by_role("button", name="Start")).to_be_visible()
