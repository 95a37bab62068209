"""How far a start is, what a failed one leaves for support, and the home page of what runs."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.support.ground import HTCONDOR, PROFILES, SLURM

pytestmark = pytest.mark.browser

JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.")


@pytest.fixture
async def pool(ground):
    """The pool, with its doors open afterwards, and the hub there."""
    ground.furnish("alice")
    yield ground
    ground.strip("alice")
    await ground.open(HTCONDOR)
    await ground.start("hub")


def step(page, name):
    return (
        page.get_by_role("list", name="How far it is").get_by_role("listitem").filter(has_text=name)
    )


def card(page, server=""):
    return page.get_by_role(
        "region", name=f"Your server “{server}”" if server else "Your server", exact=True
    )


async def test_the_steps_keep_their_times_through_a_reload_and_another_hub(
    pool, page, looks, click_start
):
    await pool.close(HTCONDOR)
    await click_start(HTCONDOR)
    log = page.get_by_role("log")
    await expect(log).to_contain_text("is in the queue", timeout=30_000)
    queued = step(page, "In the queue")
    await expect(queued).to_have_class(re.compile("done"))
    await expect(step(page, "Started")).to_have_attribute("aria-current", "step")
    await expect(page.locator("#elapsed")).to_contain_text(re.compile(r"\d+ s so far"))
    times = [await step(page, name).inner_text() for name in ("Asked", "In the queue")]
    assert re.search(r"\d:\d\d", times[0])
    assert re.search(r"after \d+\.\d s", times[1])
    await looks(page, "14-pending")
    await page.reload()
    await expect(page.locator("#elapsed")).to_contain_text("so far", timeout=30_000)
    assert [await step(page, name).inner_text() for name in ("Asked", "In the queue")] == times
    await pool.kill_hub()
    await pool.start("hub")
    await expect(log).to_contain_text("Yours is the next notebook", timeout=60_000)
    assert [await step(page, name).inner_text() for name in ("Asked", "In the queue")] == times
    await pool.open(HTCONDOR)
    await page.wait_for_url(re.compile("/user/alice/lab"), timeout=90_000)


async def test_what_support_needs_can_be_copied_and_holds_no_secret(
    pool, context, page, looks, click_start
):
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    pool.sign("alice", "", "crash").touch()
    await click_start(HTCONDOR)
    failure = page.get_by_role("alert")
    await expect(failure).to_contain_text("do not fit together", timeout=60_000)
    await expect(page.locator("#elapsed")).to_contain_text("in all")
    await page.get_by_role("button", name="Copy for support").press("Enter")
    await expect(page.get_by_text("Copied.")).to_be_visible()
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert re.search(r"^session  roost-test/[0-9a-f]{32}$", copied, re.MULTILINE)
    assert re.search(r"^node     ep\d", copied, re.MULTILINE)
    assert "status 3" in copied
    assert "do not fit together" in copied
    assert not JWT.search(copied)
    assert len(re.findall(r"[0-9a-f]{32}", copied)) == 1  # the session mark's
    await page.get_by_text("For your support").click()
    await looks(page, "14-failed")


async def test_the_home_page_shows_every_session_and_keeps_itself_up_to_date(
    testbed, page, looks, alice
):
    await alice.start(PROFILES[HTCONDOR])
    await alice.start(PROFILES[SLURM], server="two")
    await page.goto(testbed.hub_url + "/hub/home")
    for server, node in (("", "ep"), ("two", "gpu")):
        one = card(page, server)
        await expect(one).to_contain_text("Running")
        await expect(one).to_contain_text(re.compile(rf"Where\s+{node}\d, "), use_inner_text=True)
        await expect(one).to_contain_text(re.compile(r"\d h \d+ min left, until "))
        await expect(one).to_contain_text("Good, and kept fresh", timeout=30_000)
        await expect(one).to_contain_text(re.compile(r"\d+ MiB of 1 GiB"), timeout=90_000)
    await looks(page, "15-home")
    # Nobody reloads the page from here on.
    await alice.stop("")
    await expect(card(page)).to_contain_text("Not running", timeout=40_000)
    await expect(page.get_by_role("link", name="Start your server", exact=True)).to_be_visible()
    await looks(page, "15-home-one-stopped")


async def test_a_session_is_restarted_with_the_same_choice_and_stopped_by_the_keyboard(
    testbed, ground, page, shot, alice
):
    await alice.start(PROFILES[SLURM], server="two", gpus="2")
    before = [job.id for job in await ground.jobs(SLURM) if job.alive]
    page.on("dialog", lambda dialog: dialog.accept())
    await page.goto(testbed.hub_url + "/hub/home")
    await page.get_by_role("button", name="Restart your server “two”").press("Enter")
    await expect(page.locator("#roost-word")).to_contain_text("is being")
    await shot(page, "15-home-restarting")
    await page.wait_for_url(re.compile("/(hub/spawn-pending|user)/alice/two"), timeout=90_000)
    await page.wait_for_url(re.compile("/user/alice/two"), timeout=90_000)
    jobs = [job.id for job in await ground.jobs(SLURM) if job.alive]
    assert len(jobs) == 1
    assert jobs != before
    _, model = await alice.api("GET", "users/alice/servers/two")
    assert model["user_options"] == {"profile": PROFILES[SLURM], "gpus": "2"}
    await page.goto(testbed.hub_url + "/hub/home")
    await page.get_by_role("button", name="Stop your server “two”").press("Space")
    await expect(page.get_by_text("Your server “two” has been stopped.")).to_be_visible(
        timeout=90_000
    )
    await expect(card(page, "two")).to_contain_text("Not running")
    await page.get_by_role("button", name="Delete your server “two”").press("Enter")
    await expect(card(page, "two")).to_have_count(0)


async def test_an_eviction_shows_on_the_home_page_while_there_is_time_to_save(
    testbed, page, looks, alice
):
    await alice.start(PROFILES[HTCONDOR])
    await page.goto(testbed.hub_url + "/hub/home")
    await expect(card(page)).to_contain_text("Running")
    ap = testbed.hosts["ap"]
    ap.run(["condor_vacate_job", *ap.run(["condor_q", "alice", "-af", "ClusterId"]).stdout.split()])
    notice = card(page).get_by_text("The batch system is stopping this job")
    await expect(notice).to_be_visible(timeout=18_000)
    await looks(page, "15-home-evicted")
    await expect(card(page)).to_contain_text("Your server has ended", timeout=60_000)


async def test_another_server_is_added_by_its_name(testbed, page, alice):
    await page.goto(testbed.hub_url + "/hub/home")
    await page.get_by_role("textbox").fill("three")
    await page.get_by_role("button", name="Add new server").click()
    await expect(card(page, "three")).to_contain_text("Not running")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Delete your server “three”").click()
    await expect(card(page, "three")).to_have_count(0)
