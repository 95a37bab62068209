"""Nodes whose clocks are two minutes ahead, and two minutes behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import pytest

from tests.support.ground import HTCONDOR, SLURM
from tests.support.guest import until

pytestmark = pytest.mark.pool

OFF = {"ahead": 120, "behind": -120}
NODES = {
    "ahead": {HTCONDOR: "ep1", SLURM: "gpu1"},
    "behind": {HTCONDOR: "ep2", SLURM: "gpu2"},
}
LOOK = """
import hashlib, json, os, time
token = open(os.path.join(os.environ["ROOST_TOKEN_DIR"], "default")).read()
status = json.load(open(os.environ["ROOST_STATUS_FILE"]))
print(json.dumps({"now": time.time(), "token": hashlib.sha256(token.encode()).hexdigest(),
                  "notice": status["notice"], "ends_at": status["ends_at"]}))
"""


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


async def test_a_clock_that_is_2_minutes_off_harms_no_session(ground, fleet):
    guests = {name: [] for name in OFF}
    async with contextlib.AsyncExitStack() as clocks:
        for name, nodes in NODES.items():
            for node in nodes.values():
                await clocks.enter_async_context(ground.clock(node, OFF[name]))
        for name, nodes in NODES.items():
            async with ground.only(*nodes.values()):
                for kind in nodes:
                    guest = fleet.guest(kind, name)
                    guests[name].append(await guest.click(walltime="6m"))
                await asyncio.gather(*(guest.ready() for guest in guests[name]))
        everyone = [guest for name in OFF for guest in guests[name]]
        await asyncio.gather(*(guest.remember() for guest in everyone))
        await asyncio.gather(
            *(_keeps_time(guest, OFF[name]) for name in OFF for guest in guests[name])
        )
        await fleet.end()
