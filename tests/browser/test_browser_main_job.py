from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture
async def _alice_has_no_server(person):
    """Neither from a test before that failed, nor left to the next."""

    async def stop_all():
        alice = person("alice")
        await alice.login()
        _, user = await alice.api("GET", "users/alice")
        for server in user["servers"]:
            await alice.stop(server)

    await stop_all()
    yield
    await stop_all()


async def log_in(page, testbed, person, shot=None):
    await page.goto(testbed.hub_url + "/hub/login")
    if shot:
        await shot(page, "1-hub-login")
    await page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()
    await page.get_by_label("Username").fill(person.name)
    await page.get_by_label("Password").fill(person.password)
    if shot:
        await shot(page, "2-iam-login")
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile(re.escape(testbed.hub_url) + "/hub/"))


async def run_a_cell(page, code: str) -> str:
    """Open a notebook from the launcher, run one cell, and return what it printed."""
    await page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    # The kernel must be there before a cell can run, and JupyterLab moves the focus until it is.
    status = page.locator(".jp-Notebook-ExecutionIndicator")
    await expect(status).to_have_attribute("data-status", "idle", timeout=60_000)
    cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    await cell.click()
    await page.keyboard.type(code)
    await expect(cell).to_contain_text(code.partition(";")[0])
    output = page.locator(".jp-Notebook .jp-OutputArea-output pre").first
    for _ in range(6):
        # A kernel that has just said "idle" may still be connecting; JupyterLab then drops what it
        # is told to run, and a person runs the cell again.
        await cell.click()
        await page.keyboard.press("Shift+Enter")
        try:
            await expect(output).to_be_visible(timeout=10_000)
        except AssertionError:
            continue
        break
    return await output.inner_text()


@pytest.mark.parametrize(
    ("profile", "place"),
    [("interactive", r"ep[12]\.roost\.test"), ("gpu", r"gpu[12]\.roost\.test")],
)
@pytest.mark.usefixtures("_alice_has_no_server")
async def test_a_user_logs_in_picks_a_profile_runs_a_cell_and_stops_the_server(
    testbed, context, shot, profile, place
):
    alice = next(person for person in testbed.people if person.name == "alice")
    page = context.pages[0]
    await log_in(page, testbed, alice, shot if profile == "interactive" else None)
    await page.goto(testbed.hub_url + "/hub/spawn")
    card = page.locator(f"input[name=profile][value={profile}]")
    await card.check(force=True)
    await shot(page, f"3-spawn-{profile}")
    await page.get_by_role("button", name="Start").click()
    await page.wait_for_url(re.compile("/hub/spawn-pending/|/user/alice/"))
    await shot(page, f"4-pending-{profile}")
    await page.wait_for_url(re.compile("/user/alice/lab"), timeout=90_000)
    # JupyterLab opens what was open last time; a test wants an empty desk.
    await page.goto(testbed.hub_url + "/user/alice/lab?reset")
    await expect(page.locator(".jp-Launcher").first).to_be_visible(timeout=90_000)
    await shot(page, f"5-lab-{profile}")
    printed = await run_a_cell(
        page, "import getpass, socket; print(getpass.getuser(), socket.gethostname())"
    )
    await shot(page, f"6-cell-{profile}")
    user, host = printed.split()
    assert user == "alice"
    assert re.fullmatch(place, host)
    await page.goto(testbed.hub_url + "/hub/home")
    await shot(page, f"7-home-{profile}")
    await page.get_by_role("button", name="Stop your server").click()
    await expect(page.get_by_text("Your server has been stopped.")).to_be_visible(timeout=60_000)
    await expect(page.get_by_role("link", name="Start your server", exact=True)).to_be_visible()
    await shot(page, f"8-stopped-{profile}")


async def test_somebody_without_an_account_at_the_provider_is_told_so(testbed, context, shot):
    mallory = next(person for person in testbed.people if person.name == "mallory")
    page = context.pages[0]
    await page.goto(testbed.hub_url + "/hub/login")
    await page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()
    await page.get_by_label("Username").fill(mallory.name)
    await page.get_by_label("Password").fill(mallory.password)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    await shot(page, "9-iam-refused")
    assert page.url.startswith(testbed.issuer)
