"""What people in JupyterLab see when their session is about to end."""

from __future__ import annotations

import time

import pytest
from playwright.async_api import expect

pytestmark = pytest.mark.browser


async def test_an_eviction_shows_in_jupyterlab_in_time_to_save(testbed, page, shot, alice):
    await alice.start("interactive")
    await page.goto(testbed.hub_url + "/user/alice/lab?reset")
    await expect(page.locator(".jp-Launcher").first).to_be_visible(timeout=90_000)
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
    job = testbed.hosts["ap"].run(["condor_q", "alice", "-af", "ClusterId"]).stdout.split()
    assert len(job) == 1
    evicted = time.monotonic()
    testbed.hosts["ap"].run(["condor_vacate_job", *job])
    notice = page.get_by_text("This node is needed for other work").first
    await expect(notice).to_be_visible(timeout=15_000)
    print(
        f"\nfrom condor_vacate_job to the notice in JupyterLab: {time.monotonic() - evicted:.2f} s"
    )
    await shot(page, "10-evicted")
