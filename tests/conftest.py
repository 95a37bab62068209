"""Fixtures for every tier; a testbed is brought up by the first test that asks for it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from typing import Any

import aiohttp
import pytest
from xdist.scheduler import LoadScopeScheduling

# Each worker that needs one has a testbed of its own, which shares the cache of roots only.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
_PARALLEL = "PYTEST_XDIST_WORKER" in os.environ
if _WORKER != "gw0":
    os.environ["ROOST_TESTBED_NAME"] = os.environ.get("ROOST_TESTBED_NAME", "roost") + _WORKER[2:]

from testbed import lifecycle
from testbed.demo.person import Person
from testbed.layout import REPOSITORY, Folders, Site
from testbed.names import find_the_named_testbed

pytest_plugins = ["tests.support.session_hub"]
TIERS = ("unit", "hub", "chart", "pool", "browser")
# All that have one of the last two markers, and a few more.
LONGEST = ("faults", "browser")
ON_THE_TESTBED = re.compile(r"tests/(pool|faults|browser)/|tests/\w+/test_testbed_")


class Workers(LoadScopeScheduling):
    """A file for each free worker; the last one begins with what needs no testbed."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]

    def _assign_work_unit(self, node: Any) -> None:
        last = node is self.nodes[-1]
        wanted = [file for file in self.workqueue if bool(ON_THE_TESTBED.match(file)) != last]
        if wanted:
            self.workqueue.move_to_end(wanted[0], last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Workers:
    """Hand out the files in the order of the collection."""
    config.option.loadscopereorder = False
    return Workers(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tiers, leave out those that are not asked for, and refuse a test that has none."""
    for item in items:
        if not any(item.get_closest_marker(tier) for tier in TIERS):
            raise pytest.UsageError(f"{item.nodeid} has no marker; give it one of {TIERS}")

    def turn(item: pytest.Item) -> tuple[int, int, bool]:
        tier = max(i for i, name in enumerate(TIERS) if item.get_closest_marker(name))
        # Beside others the longest files begin first; alone, what is quick tells most.
        folder = item.path.parent.name
        first = LONGEST.index(folder) if _PARALLEL and folder in LONGEST else len(LONGEST)
        return first, tier, folder == "faults"

    items.sort(key=turn)
    for item in items:
        if turn(item)[1] >= TIERS.index("pool") and not ON_THE_TESTBED.match(item.nodeid):
            raise pytest.UsageError(f"{item.nodeid} is no place for a test on the testbed")
    for tier in ("soak", "long"):
        if tier not in config.option.markexpr:
            left_out = [item for item in items if item.get_closest_marker(tier)]
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]


find_the_named_testbed()


def _testbed(command: str) -> subprocess.CompletedProcess[bytes]:
    # To stderr: what a worker of pytest-xdist says there is seen.
    words = [sys.executable, "-m", "testbed", command]
    return subprocess.run(words, cwd=REPOSITORY, stdout=sys.stderr, check=False)


@pytest.fixture(scope="session")
def testbed(request: pytest.FixtureRequest) -> Site:
    """The testbed, up.  Taken down at the end, unless it was up before or is to be kept."""
    folders = Folders.default()
    was_up = lifecycle.site(folders).hosts["hub"].pid() is not None
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\nbringing the testbed up ...", file=sys.stderr, flush=True)
        done = _testbed("up")
    if done.returncode:
        pytest.fail(f"`python -m testbed up` ended with {done.returncode}", pytrace=False)
    yield lifecycle.site(folders)
    if not was_up and not os.environ.get("ROOST_TESTBED_KEEP"):
        with capture.global_and_fixture_disabled():
            _testbed("down").check_returncode()


@pytest.fixture
async def person(testbed: Site):
    """Return people of the testbed by name, each with a cookie jar of their own."""
    open_people: list[Person] = []

    def named(name: str) -> Person:
        password = next(p.password for p in testbed.people if p.name == name)
        found = Person(
            name, password, hub=testbed.hub_url, ca_file=str(testbed.folders.ca_certificate)
        )
        open_people.append(found)
        return found

    yield named
    for one in open_people:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
            await _forget_stopped(one)
        await one.__aexit__(None, None, None)


async def _forget_stopped(person: Person) -> None:
    """Delete named servers that are stopped: each still counts as one of a user's five."""
    path = f"users/{person.name}"
    status, user = await person.api("GET", path + "?include_stopped_servers")
    for name, server in user["servers"].items() if status == 200 else ():
        if name and server["stopped"]:
            await person.api("DELETE", f"{path}/servers/{name}", body={"remove": True})
