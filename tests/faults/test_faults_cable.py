"""Nodes without their network for a moment."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.ground import HTCONDOR, SLURM

pytestmark = pytest.mark.pool


async def test_nodes_cut_for_8_s_cost_no_session_and_leave_no_job(ground, fleet):
    async with ground.only("ep1", "gpu1"):
        guests = [fleet.guest(kind, "cut") for kind in (HTCONDOR, SLURM)]
        await asyncio.gather(*(guest.click() for guest in guests))
        await asyncio.gather(*(guest.ready() for guest in guests))
        await asyncio.gather(*(guest.remember() for guest in guests))
        async with ground.cut("ep1", "gpu1"):
            await asyncio.sleep(8)
        await asyncio.gather(*(guest.unharmed() for guest in guests))
        await fleet.end()
