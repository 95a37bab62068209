"""What people in JupyterLab see when their session is about to end."""

from __future__ import annotations

import re
import time

import pytest
from playwright.async_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture
async def alice(person):
    """Alice with no server, before and after."""
    found = person("alice")
    await found.login()

    async def stop_all():
        _, user = await found.api("GET", "users/alice")
        for server in user["servers"]:
            await found.stop(server)

    await stop_all()
    yield found
    await stop_all()


async def log_in(page, testbed):
    alice = next(person for person in testbed.people if person.name == "alice")
    await page.goto(testbed.hub_url + "/hub/login")
    await page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()
    await page.get_by_label("Username").fill(alice.name)
    await page.get_by_label("Password").fill(alice.password)
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile(re.escape(testbed.hub_url) + "/(hub|user)/"))


async def test_an_eviction_shows_in_jupyterlab_in_time_to_save(testbed, context, shot, alice):
    await alice.start("interactive")
    page = context.pages[0]
    await log_in(page, testbed)
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
