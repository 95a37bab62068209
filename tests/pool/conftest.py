"""Sessions on the real pool."""

from __future__ import annotations

import asyncio
import json
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from testbed.demo.person import Person
from tests.support.mallory import Mallory, settled
from tests.support.pool import start_startd, stop_startd

if TYPE_CHECKING:
    from testbed.layout import Site

# Runs inside the session, beside the kernel: notes every token that the file ever held.
WITNESS = textwrap.dedent(
    """
    import os, subprocess, sys, textwrap
    witness = textwrap.dedent('''
        import os, time
        seen = None
        log = open(os.path.expanduser("~/tokens-seen"), "w", buffering=1)
        while True:
            now = open(os.environ["BEARER_TOKEN_FILE"]).read()
            if now != seen:
                seen = now
                log.write("%f %s\\\\n" % (time.time(), now.strip()))
            time.sleep(0.2)
    ''')
    subprocess.Popen([sys.executable, "-c", witness], start_new_session=True)
    """
)


def person_of(site: Site, name: str) -> Person:
    password = next(person.password for person in site.people if person.name == name)
    return Person(name, password, hub=site.hub_url, ca_file=str(site.folders.ca_certificate))


@dataclass
class LongSession:
    """A session of carol's that runs while the other tests of the pool do."""

    site: Site
    owner: str = "carol"

    def tokens(self) -> list[tuple[float, str]]:
        """Return every token that its file has held, with the time when it was first seen."""
        text = self.site.hosts["ep1"].read(f"/home/{self.owner}/tokens-seen")
        return [(float(line.split()[0]), line.split()[1]) for line in text.splitlines()]

    def lives(self) -> bool:
        """Return whether its job runs."""
        command = ["condor_q", "-allusers", "-af", "Owner"]
        return self.owner in self.site.hosts["ap"].run(command).stdout.split()


@pytest.fixture(scope="session")
def long_session(testbed: Site):
    """Start a session early, so that nobody has to wait for its tokens at the end."""

    async def begin() -> None:
        async with person_of(testbed, "carol") as carol:
            await carol.login()
            await carol.start("interactive")
            await carol.run(WITNESS)

    async def end() -> None:
        async with person_of(testbed, "carol") as carol:
            await carol.login()
            await carol.stop()

    # On ep1, since other tests take ep2 away.
    stop_startd(testbed, "ep2")
    try:
        asyncio.run(begin())
    finally:
        start_startd(testbed, "ep2")
    yield LongSession(testbed)
    asyncio.run(end())


@pytest.fixture(scope="session", autouse=True)
def _early(long_session) -> None:
    """The long session begins with the tier."""


@pytest.fixture
def queue(testbed: Site):
    """Return a function that reads the access point's queue, as any user can."""

    def read(*attributes: str, user: str = "mallory") -> list[dict[str, object]]:
        command = ["condor_q", "-allusers", "-json"]
        if attributes:
            command += ["-attributes", ",".join(attributes)]
        return json.loads(testbed.hosts["ap"].run(command, user=user).stdout or "[]")

    return read


@pytest.fixture
async def mallory(testbed):
    async with Mallory(testbed) as found:
        yield found


@pytest.fixture
async def alice(person):
    found = person("alice")
    await found.login()
    yield found
    await settled(found)
    for server in ("", "two"):
        await found.stop(server)


@pytest.fixture
async def bob(person):
    found = person("bob")
    await found.login()
    yield found
    await found.stop()
