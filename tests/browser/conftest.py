"""A real Chromium that trusts the testbed's authority, and nothing else that is out of order."""

from __future__ import annotations

import base64
import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.async_api import async_playwright

from testbed.layout import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.layout import Site

ARTEFACTS = REPOSITORY / "tests/artefacts"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
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
