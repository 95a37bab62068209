"""The operations page: what is out of order at the top, the rest below, renewed by itself."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from testbed.demo.person import Refused
from tests.support.ground import HTCONDOR, PROFILES, SLURM

pytestmark = pytest.mark.browser

SITE_FILE = "/etc/roost/site.yaml"


@pytest.fixture
def site_file(testbed):
    """The hub's site file; as it was, afterwards."""
    host = testbed.hosts["hub"]
    before = host.read(SITE_FILE)
    yield lambda change: host.write(SITE_FILE, change(before))
    host.write(SITE_FILE, before)


@pytest.fixture
async def pool(ground):
    """The pool, with its doors open and all services there afterwards."""
    ground.furnish("alice")
    yield ground
    ground.strip("alice")
    await ground.open(HTCONDOR)
    await ground.start("schedd")


@pytest.fixture
async def admin(context, testbed):
    """Return a page of a browser in which carol, an admin, looks at the operations."""
    carol = next(one for one in testbed.people if one.name == "carol")
    page = context.pages[0]
    await page.goto(testbed.hub_url + "/hub/login?next=%2Fhub%2Froost%2Fadmin")
    await page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()
    await page.get_by_label("Username").fill(carol.name)
    await page.get_by_label("Password").fill(carol.password)
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("/hub/roost/admin"))
    return page


async def test_an_admin_sees_how_everything_stands(admin, alice, pool, looks, site_file):
    pool.sign("alice", "broken", "crash").touch()
    with pytest.raises(Refused):
        await alice.start(PROFILES[HTCONDOR], server="broken")
    await alice.start(PROFILES[HTCONDOR])
    await alice.start(PROFILES[SLURM], server="gpu")
    profile = admin.locator(f"tr[data-profile={PROFILES[HTCONDOR]}]")
    await expect(profile).to_contain_text("1 running", timeout=30_000)  # by itself
    await expect(profile).to_contain_text("server failed")
    await expect(profile).to_contain_text("median")
    await expect(admin.locator("section[data-cluster]")).to_have_count(2)
    pool_card = admin.locator("section[data-cluster=pool]")
    await expect(pool_card).to_contain_text(re.compile(r"31 of 32 slots free"), timeout=40_000)
    await expect(pool_card).to_contain_text("The 1 taken keeps")
    await expect(admin.get_by_label("Sessions")).to_contain_text("alice")
    await expect(admin.get_by_role("link", name="Operations")).to_be_visible()
    await looks(admin, "50-admin")
    await admin.get_by_role("link", name="open").first.click()
    # JupyterHub asks admins before it lets them into the servers of others.
    await expect(admin).to_have_url(re.compile("/user/alice/|/oauth2/authorize"))
    await expect(admin.locator("body")).to_contain_text("/user/alice/")


async def test_what_is_broken_is_at_the_top_and_goes_when_it_is_mended(
    admin, pool, looks, site_file
):
    problems = admin.get_by_label("What is out of order")
    site_file(lambda text: text.replace("memory:", "memroy:", 1))
    await pool.stop("schedd")
    await expect(problems).to_contain_text("The site file is refused", timeout=30_000)
    await expect(problems).to_contain_text("memroy")
    await expect(problems).to_contain_text("has not answered since", timeout=60_000)
    first = await problems.bounding_box()
    assert first["y"] < 250
    await looks(admin, "50-admin-broken")
    site_file(lambda text: text)
    await pool.start("schedd")
    await expect(problems).to_contain_text("Nothing is out of order", timeout=60_000)
    await admin.locator("#roost-history summary").click()
    await expect(admin.locator("#roost-history")).to_contain_text("memroy")


async def test_a_page_without_its_hub_says_of_when_it_is(admin, pool):
    await pool.stop("hub")
    stale = admin.locator("#roost-stale")
    await expect(stale).to_contain_text("The hub does not answer", timeout=40_000)
    await pool.start("hub")
    await expect(stale).to_be_hidden(timeout=60_000)
