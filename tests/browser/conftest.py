"""A real Chromium that trusts the testbed's authority, and nothing else that is out of order."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.async_api import async_playwright, expect

from testbed.layout import DOMAIN, LOOPBACK, PLAN, REPOSITORY, Folders
from testbed.root import npm_modules
from tests.support.ground import PROFILES, Ground

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.layout import Site

ARTEFACTS = REPOSITORY / "tests/artefacts"
POLICY = "Content Security Policy"
SIZES = {"phone": (390, 844), "desktop": (1280, 800)}
THEMES = ("light", "dark")
# Runs in the page.
FIND = """() => axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => violations
  .filter(({impact}) => ["serious", "critical"].includes(impact))
  .flatMap(({id, nodes}) => nodes.map((node) => `${id}: ${node.html}: ${node.failureSummary}`)))
"""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # As tests/conftest.py has it for Python: /etc/hosts knows the first testbed only.
    "--host-resolver-rules="
    + ",".join(f"MAP {name}.{DOMAIN} {LOOPBACK}.{plan.octet}" for name, plan in PLAN.items()),
]


def _key_pin(certificate: Path) -> str:
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    plain = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(plain).digest()).decode()


@pytest.fixture
async def context(testbed: Site, tmp_path: Path):
    """Return a fresh browser profile."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("no Chromium; `make test` installs it", pytrace=False)
    pin = _key_pin(testbed.folders.ca_certificate)
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=chromium,
            args=[*FLAGS, f"--ignore-certificate-errors-spki-list={pin}"],
            viewport={"width": 1280, "height": 800},
        )
        context.set_default_timeout(60_000)
        yield context
        await context.close()


@pytest.fixture
def shot():
    """Return a function that keeps a screenshot of a page as an artefact of the test."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)

    async def take(page, name: str) -> None:
        await page.screenshot(path=ARTEFACTS / f"{name}.png")

    return take


@pytest.fixture(scope="session")
def axe_script() -> str:
    """Return axe-core, which knows when people cannot use a page."""
    cache = npm_modules(Folders.default().cache, REPOSITORY / "tests/browser/npm", "npm-browser")
    return (cache / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture
def axe(axe_script):
    """Return a function that fails if a page, as it is now, keeps some people from using it."""

    async def check(page, what: str = "the page") -> None:
        if not await page.evaluate("'axe' in window"):
            await page.evaluate(axe_script)
        found = await page.evaluate(FIND)
        assert not found, f"{what}:\n" + "\n".join(found)

    return check


@pytest.fixture
def looks(axe):
    """Return a function that keeps screenshots of a page as phones and desktops show it.

    In light and dark; and everybody can use it in each.
    """
    ARTEFACTS.mkdir(parents=True, exist_ok=True)

    async def look(page, name: str) -> None:
        before = page.viewport_size
        for size, (width, height) in SIZES.items():
            await page.set_viewport_size({"width": width, "height": height})
            for theme in THEMES:
                # Colours are judged as they are, not on their way to others.
                await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
                await page.screenshot(path=ARTEFACTS / f"{name}-{size}-{theme}.png", full_page=True)
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} is {wide} px wide on a {size} of {width}"
                await axe(page, f"{name} on a {size}, {theme}")
        await page.emulate_media(color_scheme="light")
        await page.set_viewport_size(before)

    return look


@pytest.fixture
def ground(testbed):
    """Return the pool as an admin sees it."""
    return Ground(testbed)


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


@pytest.fixture
async def page(context, testbed, alice):
    """Return a page of a browser in which alice is logged in."""
    account = next(one for one in testbed.people if one.name == alice.name)
    found = context.pages[0]
    blocked: list[str] = []
    found.on("console", lambda said: blocked.append(said.text) if POLICY in said.text else None)
    await found.goto(testbed.hub_url + "/hub/login")
    await found.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()
    await found.get_by_label("Username").fill(account.name)
    await found.get_by_label("Password").fill(account.password)
    await found.keyboard.press("Enter")
    await found.wait_for_url(re.compile(re.escape(testbed.hub_url) + "/(hub|user)/"))
    yield found
    # JupyterLab listens to the session that is stopped now.  A stream that both sides close in the
    # same moment makes JupyterHub's proxy fail the next request ("socket hang up", 503).
    await found.goto("about:blank")
    assert blocked == [], "the pages' own policy blocks parts of them"


@pytest.fixture
def choose(page, testbed):
    """Return a function that opens the spawn page and chooses a profile there."""

    async def choose(kind: str, server: str = "") -> None:
        await page.goto(f"{testbed.hub_url}/hub/spawn/alice{'/' + server if server else ''}")
        card = page.locator(f"input[name=profile][value={PROFILES[kind]}]")
        # What was closed when the cluster was asked last opens by itself.
        await expect(card).to_be_enabled(timeout=30_000)
        await card.check(force=True)

    return choose


@pytest.fixture
def press_start(page):
    """Return a function that clicks *Start* on the spawn page."""

    async def press() -> None:
        await page.get_by_role("button", name="Start").click()
        await page.wait_for_url(re.compile("/hub/spawn-pending/"))

    return press


@pytest.fixture
def click_start(choose, press_start):
    """Return a function that chooses a profile and clicks *Start*."""

    async def click(kind: str, server: str = "") -> None:
        await choose(kind, server)
        await press_start()

    return click
