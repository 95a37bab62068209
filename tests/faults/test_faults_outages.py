"""Each service away for a while, with sessions in every state."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.ground import HTCONDOR, SLURM

pytestmark = pytest.mark.pool

SECONDS = 20.0
KINDS = {
    "schedd": (HTCONDOR,),
    "collector": (HTCONDOR,),
    "negotiator": (HTCONDOR,),
    "negotiator-nb": (HTCONDOR,),
    "slurmctld": (SLURM,),
    "slurmrestd": (SLURM,),
    "slurm-broker": (SLURM,),
    "iam": (HTCONDOR, SLURM),
}


@pytest.mark.parametrize("service", KINDS)
async def test_a_service_that_is_away_costs_no_session_and_leaves_no_job(ground, fleet, service):
    kinds = KINDS[service]
    await fleet.into_every_state(*kinds)
    async with ground.away(service):
        began = asyncio.get_running_loop().time()
        await fleet.meanwhile(*kinds)
        for kind in kinds:
            # Who works does not notice.
            await fleet.guest(kind, "running").execute("print(held)")
        while asyncio.get_running_loop().time() < began + SECONDS:
            await asyncio.gather(*(guest.status() for guest in fleet.guests))
            await asyncio.sleep(2)
    await fleet.come_through(*kinds)
    await fleet.end()
