"""Nodes without their network, for a while and for good, and nodes that an admin takes out."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from testbed import net
from tests.support.ground import HTCONDOR, SLURM
from tests.support.guest import until

pytestmark = pytest.mark.pool

HERE = {HTCONDOR: "ep1", SLURM: "gpu1"}
THERE = {HTCONDOR: "ep2", SLURM: "gpu2"}


async def _on_nodes(ground, fleet, server, nodes):
    """Start a session on each of some nodes."""
    async with ground.only(*nodes.values()):
        guests = [await fleet.guest(kind, server).click() for kind in nodes]
        await asyncio.gather(*(guest.ready() for guest in guests))
    await asyncio.gather(*(guest.remember() for guest in guests))
    for guest in guests:
        (job,) = await guest.jobs()
        assert job.node == nodes[guest.kind]
    return guests


async def _end(guest, says, began, limit):
    """Wait until a session is gone and its user reads why; print how long it took."""
    await guest.gone(limit)
    print(f"{guest}: gone after {time.monotonic() - began:.0f} s")

    async def told():
        return re.search(says, str((await guest.status()).get("why") or ""))

    await until(told, f"{guest} says {says!r}; it has said {guest.seen}", 30)
    print(f"{guest}: {guest.seen[-1]}")


async def test_nodes_cut_for_20_s_cost_nothing_and_one_lost_for_good_ends_its_sessions(
    ground, fleet
):
    kept = await _on_nodes(ground, fleet, "cut", HERE)
    lost = await _on_nodes(ground, fleet, "lost", THERE)
    began = time.monotonic()
    async with ground.cut(*THERE.values()):
        async with ground.cut(*HERE.values()):
            await asyncio.sleep(20)
        await asyncio.gather(
            *(guest.unharmed() for guest in kept),
            # What must run out: on HTCondor the keep-alives of the connection (90 s in the testbed)
            # and the job's lease (120 s), on Slurm SlurmdTimeout (60 s).
            *(_end(guest, r"out of reach|failed", began, 300) for guest in lost),
        )
    for name in THERE.values():
        assert not net.is_cut(name)

    async def empty() -> bool:
        return not any(ground.server_pids(guest.person.name, guest.server) for guest in lost)

    await until(empty, "no process of theirs is left on the nodes", 300)
    await asyncio.gather(*(guest.unharmed() for guest in kept))
    await fleet.end()


async def test_a_node_that_an_admin_drains_or_sets_down_ends_its_sessions_with_that_reason(
    ground, fleet
):
    kept = await _on_nodes(ground, fleet, "kept", HERE)
    ended = await _on_nodes(ground, fleet, "ended", THERE)
    down = ("ctl", "scontrol", "update", f"nodename={THERE[SLURM]}")
    began = time.monotonic()
    drain = ("-graceful", "-reason", "test", f"{THERE[HTCONDOR]}.roost.test")
    await ground.run(THERE[HTCONDOR], "condor_drain", *drain)
    await ground.run(*down, "state=down", "reason=test")
    try:
        # HTCondor 23.9 forgets that it was a drain once the job has ended at its SIGTERM.
        words = {HTCONDOR: r"taken off its node|drained", SLURM: r"failed"}
        await asyncio.gather(*(_end(guest, words[guest.kind], began, 120) for guest in ended))
        await asyncio.gather(*(guest.unharmed() for guest in kept))
    finally:
        await ground.run(THERE[HTCONDOR], "condor_drain", "-cancel", drain[-1], check=False)
        await ground.run(*down, "state=resume", check=False)
    await fleet.end()
