"""The home page: why a session ended, until the next one; and that a scheduler is away."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.support.ground import HTCONDOR, PROFILES, SLURM
from tests.support.guest import until

pytestmark = pytest.mark.browser

REMOVE = {HTCONDOR: ("ap", "condor_rm"), SLURM: ("ctl", "scancel")}
QUICK = 5
"""Seconds.  A job of Slurm's that was cancelled sooner may also have failed to start, it says."""
WORDS = {
    HTCONDOR: "An admin (condor) has removed the job.",
    SLURM: "The job was cancelled by an administrator",
}


@pytest.mark.parametrize(("kind", "server"), [(HTCONDOR, ""), (SLURM, "two")])
async def test_the_home_page_says_why_the_last_session_ended(
    testbed, ground, alice, page, shot, kind, server
):
    path = "roost/v1/servers/alice" + (f"/servers/{server}" if server else "")
    await alice.start(PROFILES[kind], server=server)
    (job,) = [job for job in await ground.jobs(kind) if job.alive]

    async def status():
        return (await alice.api("GET", path))[1]

    begun = (await status())["seconds_left"]

    async def has_run():
        return begun - (await status())["seconds_left"] > QUICK

    async def told():
        now = await status()
        return now["state"] == "ended" and now["cause"] == "removed"

    await until(has_run, "the job has run for some seconds")
    await ground.run(*REMOVE[kind], job.id)
    await until(told, "the hub knows the end", 60)
    await page.goto(testbed.hub_url + "/hub/home")
    whose = f"Your server “{server}”" if server else "Your server"
    alert = page.get_by_text(f"{whose} has ended: {WORDS[kind]}")
    await expect(alert).to_be_visible()
    await shot(page, f"13-home-ended-{kind}")
    await alice.start(PROFILES[kind], server=server)
    await page.reload()
    await expect(alert).to_be_hidden()
    await alice.stop(server)


async def test_the_home_page_says_that_the_scheduler_of_a_session_is_away(
    testbed, ground, alice, page, shot
):
    await alice.start(PROFILES[HTCONDOR])
    alert = page.get_by_text("Cluster pool does not answer. Your server goes on without it.")
    await page.goto(testbed.hub_url + "/hub/home")
    await expect(alert).to_be_hidden()

    async def shown(count):
        await page.reload()
        return await alert.count() == count

    async with ground.away("schedd"):
        await until(lambda: shown(1), "the page says that the scheduler is away", 90)
        await shot(page, "13-home-scheduler-away")
    await until(lambda: shown(0), "the page says so no more", 90)
    await expect(page.get_by_role("button", name="Stop your server")).to_be_visible()
