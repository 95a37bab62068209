"""What people in JupyterLab see when their session is about to end."""

from __future__ import annotations

import secrets
import time

import pytest
from playwright.async_api import expect

from tests.support.ground import HTCONDOR
from tests.support.guest import until

pytestmark = pytest.mark.browser


@pytest.fixture
async def desk(page, testbed, alice):
    """Return a page with JupyterLab in a session on HTCondor."""
    await alice.start("interactive")
    await page.goto(testbed.hub_url + "/user/alice/lab?reset")
    await expect(page.locator(".jp-Launcher").first).to_be_visible(timeout=90_000)
    return page


@pytest.fixture
async def evict(testbed, ground):
    """Return a function that takes alice's job off its node."""

    def vacate():
        ap = testbed.hosts["ap"]
        job = ap.run(["condor_q", "alice", "-af", "ClusterId"]).stdout.split()
        assert len(job) == 1
        ap.run(["condor_vacate_job", *job])

    yield vacate
    await ground.clear()  # nobody waits for the time that it would have had to save


async def test_an_eviction_shows_in_jupyterlab_in_time_to_save(desk, shot, evict):
    page = desk
    autosave = await page.evaluate(
        """async () => {
            const config = JSON.parse(document.getElementById('jupyter-config-data').textContent);
            const token = /(?:^|; )_xsrf=([^;]+)/.exec(document.cookie)[1];
            const headers = {'X-XSRFToken': token};
            const answer = await fetch(config.baseUrl + 'lab/api/settings', {headers});
            const all = (await answer.json()).settings;
            const plugin = all.find((one) => one.id === '@jupyterlab/docmanager-extension:plugin');
            return plugin.schema.properties.autosaveInterval.default;
        }"""
    )
    assert autosave == 20
    evicted = time.monotonic()
    evict()
    notice = page.get_by_text("The batch system is stopping this job").first
    await expect(notice).to_be_visible(timeout=15_000)
    print(
        f"\nfrom condor_vacate_job to the notice in JupyterLab: {time.monotonic() - evicted:.2f} s"
    )
    await shot(page, "10-evicted")


async def test_an_eviction_shows_in_a_jupyterlab_that_was_opened_before_the_hub_was_killed(
    desk, ground, evict
):
    events = "/hub/api/roost/v1/servers/alice/events"

    def listens_again(response):
        return events in response.url and response.ok  # the proxy answers for a hub that is away

    async with desk.expect_response(listens_again, timeout=90_000):
        await ground.kill_hub()
        await ground.start("hub")
    evict()
    notice = desk.get_by_text("The batch system is stopping this job").first
    await expect(notice).to_be_visible(timeout=15_000)


async def test_why_a_session_ended_is_told_in_jupyterlab_and_after_a_reload_and_nothing_untrue(
    desk, ground, shot, testbed
):
    (job,) = [job for job in await ground.jobs(HTCONDOR) if job.alive]
    await ground.run("ap", "condor_rm", job.id)
    says = "Your session has ended: An admin (condor) has removed the job."
    await expect(desk.get_by_text(says).first).to_be_visible(timeout=60_000)
    # One notification: the end has taken the place of what was announced.
    await expect(desk.get_by_text("needed for other work")).to_have_count(0)
    await shot(desk, "10-ended")
    # JupyterLab's own words, once it has noticed by itself, offer no restart.
    await expect(desk.get_by_text("Server Connection Error")).to_be_visible(timeout=60_000)
    await expect(desk.get_by_text("Would you like to restart it?")).to_have_count(0)
    await desk.reload()
    last = desk.locator("#roost-last")
    await expect(last).to_have_text(
        "Your server has ended: An admin (condor) has removed the job.", timeout=30_000
    )
    await shot(desk, "10-not-running")

    async def logged():
        return f"job {job.id} of pool" in ground.hub_log()

    await until(logged, "the log has the end once the job is gone", 30)


async def test_what_was_typed_before_an_eviction_is_saved(desk, ground, evict):
    await desk.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    status = desk.locator(".jp-Notebook-ExecutionIndicator")
    await expect(status).to_have_attribute("data-status", "idle", timeout=60_000)
    # JupyterLab has made an empty one; what is typed from now on is in the browser only.
    words = f"typed_{secrets.token_hex(8)}"
    cell = desk.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    await cell.click()
    await desk.keyboard.type(words)
    await expect(cell).to_contain_text(words)
    typed = time.monotonic()
    evict()

    async def saved():
        return any(words in note.read_text() for note in ground.home("alice").glob("*.ipynb"))

    try:
        await until(saved, "what was typed is in a file", 8)
        print(f"\nsaved {time.monotonic() - typed:.2f} s after it was typed, by the eviction")
    finally:
        for note in ground.home("alice").glob("Untitled*.ipynb"):
            note.unlink()
