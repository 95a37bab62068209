"""What happens to nodes: without their network for a while and for good, taken out, a wrong clock.

One node of each cluster is lost for good, which takes minutes to be noticed; all else happens to
the others meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time

import pytest

from testbed import lifecycle
from testbed.steps import Printer
from tests.pool.conftest import person_of
from tests.support.fleet import Fleet
from tests.support.ground import HTCONDOR, SLURM
from tests.support.guest import until

pytestmark = [pytest.mark.pool, pytest.mark.long]

HERE = {HTCONDOR: "ep1", SLURM: "gpu1"}
THERE = {HTCONDOR: "ep2", SLURM: "gpu2"}
LOOK = """
import hashlib, json, os, time
token = open(os.path.join(os.environ["ROOST_TOKEN_DIR"], "default")).read()
status = json.load(open(os.environ["ROOST_STATUS_FILE"]))
print(json.dumps({"now": time.time(), "token": hashlib.sha256(token.encode()).hexdigest(),
                  "notice": status["notice"], "ends_at": status["ends_at"]}))
"""


async def _start(fleet, server, **options):
    """Start a session on each cluster, with a kernel that holds something."""
    guests = [await fleet.guest(kind, server).click(**options) for kind in HERE]
    await asyncio.gather(*(guest.ready() for guest in guests))
    await asyncio.gather(*(guest.remember() for guest in guests))
    return guests


async def _end(guest, says, began, limit):
    """Wait until a session is gone and its user reads why; print how long it took."""
    await guest.gone(limit)
    print(f"{guest}: gone after {time.monotonic() - began:.0f} s")

    async def told():
        return re.search(says, str((await guest.status()).get("why") or ""))

    await until(told, f"{guest} says {says!r}; it has said {guest.seen}", 30)
    print(f"{guest}: {guest.seen[-1]}")


async def _lost_for_good(ground, lost, began, noticed):
    # What must run out: on HTCondor the keep-alives of the connection (50 s in the testbed) and the
    # job's lease (120 s), on Slurm SlurmdTimeout (60 s).
    await asyncio.gather(*(_end(guest, r"out of reach|failed", began, 300) for guest in lost))
    noticed.set()

    async def empty():
        return not any(ground.server_pids(guest.person.name, guest.server) for guest in lost)

    await until(empty, "no process of theirs is left on the nodes", 300)


async def _look(guest):
    return json.loads(await guest.execute(LOOK))


async def _keeps_time(guest, off):
    """Its tokens are renewed, and the end of its walltime is announced when it is due."""
    first = await _look(guest)
    assert abs(first["now"] - time.time() - off) < 10, "the node's clock is right: no test"

    async def renewed():
        return (await _look(guest))["token"] != first["token"]

    async def announced():
        status = await guest.status()
        ends_at, notices = status["ends_at"], status["notices"]
        return [ends_at - given["at"] for given in notices if "in 5 minutes" in given["message"]]

    async def told_inside():
        return "5 minutes" in (await _look(guest))["notice"]

    (left,) = await until(announced, f"{guest}'s end is announced")
    assert 270 < left <= 300, f"{guest}: announced {left} s before"
    assert "5 minutes" not in first["notice"]
    await until(told_inside, f"{guest}'s status file says so", 30)
    # By the node's own clock, for programs in the session.
    inside, outside = await _look(guest), await guest.status()
    assert abs(inside["ends_at"] - inside["now"] - outside["seconds_left"]) < 10
    await until(renewed, f"{guest}'s token is renewed")
    await guest.unharmed()


async def _wrong_clocks(ground, fleet):
    guests = {}
    for name, off in (("ahead", 120), ("behind", -120)):
        async with contextlib.AsyncExitStack() as clocks:
            for node in HERE.values():
                await clocks.enter_async_context(ground.clock(node, off))
            guests[off] = await _start(fleet, name, walltime="6m")
    everyone = [(guest, off) for off, here in guests.items() for guest in here]
    await asyncio.gather(*(_keeps_time(guest, off) for guest, off in everyone))
    for guest, _ in everyone:
        await guest.ask_to_stop()
    await asyncio.gather(*(guest.gone() for guest, _ in everyone))


async def _taken_out(ground, fleet):
    ended = await _start(fleet, "ended")
    node = f"{HERE[HTCONDOR]}.roost.test"
    down = ("ctl", "scontrol", "update", f"nodename={HERE[SLURM]}")
    began = time.monotonic()
    await ground.run(HERE[HTCONDOR], "condor_drain", "-graceful", "-reason", "test", node)
    await ground.run(*down, "state=down", "reason=test")
    try:
        # HTCondor 23.9 forgets that it was a drain once the job has ended at its SIGTERM.
        words = {HTCONDOR: r"taken off its node|drained", SLURM: r"failed|down"}
        await asyncio.gather(*(_end(guest, words[guest.kind], began, 120) for guest in ended))
    finally:
        await ground.run(HERE[HTCONDOR], "condor_drain", "-cancel", node, check=False)
        await ground.run(*down, "state=resume", check=False)


async def _all_at_once(ground, fleet, note):
    async with ground.only(*THERE.values()):
        lost = await _start(fleet, "lost")
    async with ground.only(*HERE.values()):  # from here on nothing starts on the others
        cut = await _start(fleet, "cut")
        began, noticed = time.monotonic(), asyncio.Event()
        async with ground.cut(*THERE.values()):
            async with ground.cut(*HERE.values()):
                await asyncio.sleep(20)
            losing = asyncio.create_task(
                note("lost for good", _lost_for_good(ground, lost, began, noticed))
            )
            await note("cut for 20 s", asyncio.gather(*(guest.unharmed() for guest in cut)))
            for guest in cut:
                await guest.ask_to_stop()
            await note("clocks", _wrong_clocks(ground, fleet))
            await note("taken out", _taken_out(ground, fleet))
            waiting = asyncio.create_task(noticed.wait())
            await asyncio.wait([losing, waiting], return_when=asyncio.FIRST_COMPLETED)
        await losing  # what is left on the nodes ends now that they are back
        waiting.cancel()
    await note("afterwards", fleet.end())


async def _befall(testbed, ground):
    people = {name: person_of(testbed, name) for name in ("alice", "bob")}
    ground.furnish(*people)
    fleet, errors = Fleet(ground, people), {}

    async def note(name, happening):
        errors[name] = None
        try:
            await happening
        except Exception as error:
            errors[name] = error

    try:
        for person in people.values():
            await person.login()
        await fleet.begin()
        await _all_at_once(ground, fleet, note)
    finally:
        lifecycle.start_all(testbed, Printer())
        await fleet.close()
        for person in people.values():
            await person.__aexit__(None, None, None)
    return errors


@pytest.fixture(scope="module")
def errors(testbed, ground):
    """All that happens, at once; what has gone wrong, by name."""
    lifecycle.start_all(testbed, Printer())
    return asyncio.run(_befall(testbed, ground))


def _check(error):
    if error is not None:
        raise error


def test_a_node_cut_for_20_s_costs_no_session(errors):
    _check(errors["cut for 20 s"])


def test_a_node_lost_for_good_ends_its_sessions_and_their_users_read_why(errors):
    _check(errors["lost for good"])


def test_a_clock_2_minutes_ahead_or_behind_harms_no_session(errors):
    _check(errors["clocks"])


def test_a_node_that_an_admin_drains_or_sets_down_ends_its_sessions_with_that_reason(errors):
    _check(errors["taken out"])


def test_nothing_is_left_of_sessions_whose_nodes_had_faults(errors):
    _check(errors["afterwards"])
