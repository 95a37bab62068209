"""An execute node without its network: for a while, and for good."""

from __future__ import annotations

import asyncio

import pytest

from testbed import net
from tests.support.ground import HTCONDOR, SLURM
from tests.support.guest import until

pytestmark = pytest.mark.pool

NODES = {HTCONDOR: "ep2", SLURM: "gpu2"}


async def _on_node(ground, fleet, server):
    """Start a session on each of the nodes that are to be cut."""
    async with ground.only(*NODES.values()):
        guests = [await fleet.guest(kind, server).click() for kind in NODES]
        await asyncio.gather(*(guest.ready() for guest in guests))
    await asyncio.gather(*(guest.remember() for guest in guests))
    for guest in guests:
        (job,) = await guest.jobs()
        assert job.node == NODES[guest.kind]
    return guests


async def test_a_node_cut_for_20_s_costs_nothing(ground, fleet):
    guests = await _on_node(ground, fleet, "cut")
    async with ground.cut(*NODES.values()):
        await asyncio.sleep(20)
    await asyncio.gather(*(guest.unharmed() for guest in guests))
    await fleet.end()


# HTCondor 23.9 with its default keepalives has not noticed after four and a half minutes.
@pytest.mark.soak
async def test_a_node_cut_for_good_ends_its_sessions(ground, fleet):
    guests = await _on_node(ground, fleet, "lost")
    async with ground.cut(*NODES.values()):
        # HTCondor's lease (120 s in the testbed) and SlurmdTimeout (60 s) must run out.
        await asyncio.gather(*(guest.gone(limit=900) for guest in guests))
    for name in NODES.values():
        assert not net.is_cut(name)

    async def empty() -> bool:
        return not any(ground.server_pids(guest.person.name, guest.server) for guest in guests)

    await until(empty, "no process of theirs is left on the nodes", 300)
    await fleet.nothing_left()
