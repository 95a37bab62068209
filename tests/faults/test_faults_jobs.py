"""What can happen to a job: the session ends with its reason and leaves nothing, or lives on."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest

from testbed import lifecycle
from testbed.steps import Printer
from tests.pool.conftest import person_of
from tests.support.fleet import OWNERS, Fleet
from tests.support.ground import HTCONDOR, SLURM
from tests.support.guest import Guest
from tests.support.mishaps import MISHAPS, Outcome, befall

pytestmark = pytest.mark.pool

# As many as one user may have, and as there are GPUs.
_AT_ONCE = {HTCONDOR: 5, SLURM: 4}


async def _befall_all(testbed, ground):
    people = {name: person_of(testbed, name) for name in ("alice", "bob")}
    ground.furnish(*people)
    places = {kind: asyncio.Queue() for kind in _AT_ONCE}
    for kind, count in _AT_ONCE.items():
        for number in range(count):
            places[kind].put_nowait(f"m{number}")
    fleet = Fleet(ground, people)
    outcomes = {}

    async def one(name, mishap):
        # On HTCondor alice, on Slurm bob; each server's name is used again.
        server = await places[mishap.kind].get()
        guest = Guest(ground, people[OWNERS[mishap.kind]], server, mishap.kind)
        try:
            outcomes[name] = await befall(ground, guest, mishap)
        except Exception as error:
            said = [*guest.said, *(why for _, why in guest.seen)]
            outcomes[name] = Outcome(said, trouble=f"{type(error).__name__}: {error}")
        await guest.close_page()
        with contextlib.suppress(Exception):
            await guest.ask_to_stop()
            await guest.gone()
            await guest.forget()  # and with it why it ended: the next one's is its own
            ground.sign(guest.person.name, server, "crash").unlink(missing_ok=True)
        places[mishap.kind].put_nowait(server)

    try:
        for person in people.values():
            await person.login()
        await fleet.begin()
        limited = "disabled" not in testbed.hosts["gpu1"].read("/etc/slurm/cgroup-names.conf")
        happening = [item for item in MISHAPS.items() if limited or not item[1].limited]
        await asyncio.gather(*(one(*item) for item in happening))
        try:
            await fleet.nothing_left()
        except AssertionError as error:
            outcomes["afterwards"] = Outcome([], trouble=str(error))
    finally:
        await fleet.begin()  # which deletes what servers there are
        await fleet.close()
        for person in people.values():
            await person.__aexit__(None, None, None)
    return outcomes


@pytest.fixture(scope="module")
def outcomes(testbed, ground):
    """All that can happen, side by side, each to a session of its own."""
    lifecycle.start_all(testbed, Printer())
    return asyncio.run(_befall_all(testbed, ground))


def _outcome(outcomes, name):
    if MISHAPS[name].limited and name not in outcomes:
        pytest.skip("no cgroups of version 1 on this machine: Slurm has no memory limits")
    return outcomes[name]


@pytest.mark.parametrize("name", MISHAPS)
def test_what_happens_to_a_job_ends_its_session_or_leaves_it_unharmed(outcomes, name):
    outcome = _outcome(outcomes, name)
    assert not outcome.trouble, outcome


@pytest.mark.parametrize("name", [name for name, what in MISHAPS.items() if what.says])
def test_the_user_reads_what_has_happened_and_still_does_once_the_session_has_ended(outcomes, name):
    outcome, mishap = _outcome(outcomes, name), MISHAPS[name]
    print(f"{name}: {outcome}")
    words = "\n".join(outcome.words) if mishap.lives else outcome.last
    assert re.search(mishap.says, words), outcome


def test_nothing_is_left_of_any_of_them_and_none_came_back_as_a_second_session(outcomes):
    assert "afterwards" not in outcomes, outcomes["afterwards"].trouble
