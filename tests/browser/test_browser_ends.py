"""Why a session ended is told on the home page, until the next one."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.support.ground import HTCONDOR, PROFILES, SLURM
from tests.support.guest import until

pytestmark = pytest.mark.browser

REMOVE = {HTCONDOR: ("ap", "condor_rm"), SLURM: ("ctl", "scancel")}
# Slurm does not tell by whom.
WORDS = {HTCONDOR: "An admin (condor) has removed the job.", SLURM: "The job was cancelled."}


@pytest.mark.parametrize(("kind", "server"), [(HTCONDOR, ""), (SLURM, "two")])
async def test_the_home_page_says_why_the_last_session_ended(
    testbed, ground, alice, page, shot, kind, server
):
    path = "roost/v1/servers/alice" + (f"/servers/{server}" if server else "")
    await alice.start(PROFILES[kind], server=server)
    (job,) = [job for job in await ground.jobs(kind) if job.alive]
    await ground.run(*REMOVE[kind], job.id)

    async def told():
        _, status = await alice.api("GET", path)
        return status["state"] == "ended" and status["cause"] == "removed"

    await until(told, "the hub knows the end", 60)
    await page.goto(testbed.hub_url + "/hub/home")
    whose = f"Your server {server}" if server else "Your server"
    alert = page.get_by_text(f"{whose} has ended: {WORDS[kind]}")
    await expect(alert).to_be_visible()
    await shot(page, f"13-home-ended-{kind}")
    await alice.start(PROFILES[kind], server=server)
    await page.reload()
    await expect(alert).to_be_hidden()
    await alice.stop(server)
