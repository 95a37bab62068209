"""What people in JupyterLab see when their session is about to end."""

from __future__ import annotations

import re
import time

import pytest
from playwright.async_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture
async def desk(page, testbed, alice):
    """Return a page with JupyterLab in a session on HTCondor."""
    await alice.start("interactive")
    await page.goto(testbed.hub_url + "/user/alice/lab?reset")
    await expect(page.locator(".jp-Launcher").first).to_be_visible(timeout=90_000)
    return page


@pytest.fixture
def evict(testbed):
    """Return a function that takes alice's job off its node."""

    def vacate():
        ap = testbed.hosts["ap"]
        job = ap.run(["condor_q", "alice", "-af", "ClusterId"]).stdout.split()
        assert len(job) == 1
        ap.run(["condor_vacate_job", *job])

    return vacate


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
    notice = page.get_by_text("This node is needed for other work").first
    await expect(notice).to_be_visible(timeout=15_000)
    print(
        f"\nfrom condor_vacate_job to the notice in JupyterLab: {time.monotonic() - evicted:.2f} s"
    )
    await shot(page, "10-evicted")


async def test_an_eviction_shows_in_a_jupyterlab_that_was_opened_before_the_hub_was_killed(
    desk, ground, evict
):
    again = re.compile("/hub/api/roost/v1/servers/alice/events")
    async with desk.expect_response(again, timeout=90_000):
        await ground.kill_hub()
        await ground.start("hub")
    evict()
    notice = desk.get_by_text("This node is needed for other work").first
    await expect(notice).to_be_visible(timeout=15_000)
