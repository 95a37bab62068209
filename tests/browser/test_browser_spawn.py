"""The spawn page: what is free, as the clusters say; limits, as the site file has them."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from tests.support.ground import SLURM

pytestmark = pytest.mark.browser

FILE = "/etc/roost/site.yaml"
LIVE = 40_000
"""Milliseconds: twice the page's own pause and twice the age that a figure may have."""
MORE = """\
announcements:
  - {text: "The GPU nodes are serviced on Tuesday, 8:00 to 12:00.", level: warning}
"""


@pytest.fixture
def site_file(testbed):
    """Return a function that changes the hub's site file, which is put back afterwards."""
    host = testbed.hosts["hub"]
    was = host.read(FILE)

    def change(*pairs: tuple[str, str], more: str = "") -> None:
        text = was
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        host.write(FILE, text + more)

    yield change
    host.write(FILE, was)


@pytest.fixture
async def spawn(page, testbed):
    """Return the spawn page, open."""
    await page.goto(f"{testbed.hub_url}/hub/spawn")
    return page


def card(page, name):
    return page.locator(f"[data-profile={name}]")


async def test_everybody_can_read_what_is_free_and_use_the_page(site_file, page, testbed, looks):
    overflow = ("    # overflow: [gpu]  ", "    overflow: [gpu]  ")
    site_file(overflow, more=MORE)
    await asyncio.sleep(1.5)
    await page.goto(f"{testbed.hub_url}/hub/spawn")
    interactive = card(page, "interactive")
    await expect(interactive).to_contain_text("reserved slots free")
    await expect(interactive).to_contain_text("Starts now")
    await expect(interactive).to_contain_text(
        "If it does not start within 30s: GPU notebook on cluster."
    )
    await expect(card(page, "gpu")).to_contain_text("GPUs: 4 of 4 free")
    await expect(page.locator(".roost-announcement")).to_have_text(
        "The GPU nodes are serviced on Tuesday, 8:00 to 12:00."
    )
    await looks(page, "20-spawn")


async def test_what_keeps_people_from_using_a_page_is_found(spawn, axe):
    await axe(spawn)
    await spawn.evaluate("document.querySelector('label[for=roost-interactive]').remove()")
    with pytest.raises(AssertionError, match="label"):
        await axe(spawn)


async def test_the_keyboard_is_enough(spawn):
    first, second = (spawn.locator(f"#roost-{name}") for name in ("interactive", "gpu"))
    await expect(first).to_be_checked()
    await first.focus()
    await spawn.keyboard.press("ArrowDown")
    await expect(second).to_be_checked()
    await expect(second).to_be_focused()
    await expect(spawn.get_by_label("For how long").nth(0)).to_be_hidden()
    await spawn.keyboard.press("Tab")
    await expect(spawn.get_by_label("GPUs")).to_be_focused()
    await spawn.keyboard.press("ArrowDown")
    await expect(spawn.get_by_label("GPUs")).to_have_value("2")


async def test_the_whole_card_is_its_label(spawn):
    await card(spawn, "gpu").click(position={"x": 300, "y": 60})
    await expect(spawn.locator("#roost-gpu")).to_be_checked()


async def test_a_link_chooses_without_starting(page, testbed):
    await page.goto(f"{testbed.hub_url}/hub/spawn#profile=gpu&gpus=2&walltime=2h")
    await expect(page.locator("#roost-gpu")).to_be_checked()
    await expect(page.get_by_label("GPUs")).to_have_value("2")
    await expect(page.locator("[name='gpu.walltime']")).to_have_value("2h")


async def test_an_open_page_follows_the_cluster(ground, spawn, shot):
    gpu, radio = card(spawn, "gpu"), spawn.locator("#roost-gpu")
    await expect(gpu).to_contain_text("Starts now")
    try:
        await ground.close(SLURM)
        await expect(gpu).to_contain_text("Cannot start", timeout=LIVE)
        await expect(gpu.locator(".roost-why")).not_to_be_empty()
        await expect(radio).to_be_disabled()
        await shot(spawn, "20-spawn-closed")
    finally:
        await ground.open(SLURM)
    await expect(gpu).to_contain_text("Starts now", timeout=LIVE)
    await expect(radio).to_be_enabled()


async def test_a_choice_that_closes_while_the_page_is_open_is_nobody_elses(ground, spawn):
    await spawn.locator("#roost-gpu").check()
    try:
        await ground.close(SLURM)
        await expect(card(spawn, "gpu")).to_contain_text("Cannot start", timeout=LIVE)
        await expect(spawn.locator("#roost-gpu")).to_be_checked()
        await expect(spawn.locator("#roost-gpu")).to_be_enabled()
    finally:
        await ground.open(SLURM)


async def test_a_changed_limit_is_on_the_next_page_and_soon_on_an_open_one(
    site_file, spawn, context, testbed
):
    walltime = spawn.locator("[name='interactive.walltime']")
    await walltime.fill("3h")
    site_file(("walltime: {default: 8h, max: 24h}", "walltime: {default: 8h, max: 20h}"))
    await asyncio.sleep(1.5)  # 2 s are promised
    fresh = await context.new_page()
    await fresh.goto(f"{testbed.hub_url}/hub/spawn")
    await expect(card(fresh, "interactive")).to_contain_text("up to 20h", timeout=300)
    await fresh.close()
    await expect(card(spawn, "interactive")).to_contain_text("up to 20h", timeout=LIVE)
    # What was filled in stays.
    await expect(walltime).to_have_value("3h")
    await expect(spawn.locator("#roost-news")).to_have_text("The profiles have changed.")


async def test_a_broken_site_file_changes_nothing_on_the_page(site_file, page, testbed):
    site_file(("cluster: pool", "cluster: nowhere"))
    await asyncio.sleep(1.5)
    await page.goto(f"{testbed.hub_url}/hub/spawn")
    await expect(card(page, "interactive")).to_contain_text("Interactive notebook")
