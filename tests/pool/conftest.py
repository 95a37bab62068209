"""Sessions on the real pool."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from testbed.demo.person import Person
from tests.support.condor import PoolTalk
from tests.support.mallory import Mallory, settled

if TYPE_CHECKING:
    from testbed.layout import Site


def person_of(site: Site, name: str) -> Person:
    password = next(person.password for person in site.people if person.name == name)
    return Person(name, password, hub=site.hub_url, ca_file=str(site.folders.ca_certificate))


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


@pytest.fixture
async def talk(testbed):
    """Return the pool as the hub speaks to it; jobs that are left are cancelled."""
    found = PoolTalk(testbed)
    yield found
    for job_id, view in (await found.pool.watch()).items():
        if view.state.alive and view.owner:
            await found.pool.cancel(job_id, token=found.token(view.owner))
    await found.pool.close()
