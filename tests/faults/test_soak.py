"""The long forms (`make soak`): a minute without each service, and an hour of faults at random."""

from __future__ import annotations

import asyncio
import os
import random
import time

import pytest

from tests.support.ground import HTCONDOR, SLURM
from tests.support.outages import KINDS, UNFELT, outage

pytestmark = [pytest.mark.pool, pytest.mark.soak]

MINUTES = float(os.environ.get("ROOST_SOAK_MINUTES", "60"))
# The processes of each service that can hang instead of being gone.
HANG = {
    "schedd": ("ap", "condor_schedd"),
    "collector": ("cm", "condor_collector"),
    "slurmctld": ("ctl", "slurmctld"),
    "slurmrestd": ("ctl", "slurmrestd"),
    "slurm-broker": ("ctl", "roost-slurm-broker"),
    "iam": ("iam", "server.mjs"),
}


@pytest.mark.parametrize("service", KINDS)
async def test_a_minute_without_a_service_costs_no_session(ground, fleet, service):
    away, felt = ground.away(service), service not in UNFELT
    await outage(ground, fleet, KINDS[service], away, 60, felt=felt)


@pytest.mark.parametrize("service", HANG)
async def test_a_service_that_hangs_for_a_minute_costs_no_session(ground, fleet, service):
    frozen = ground.frozen(ground.pids_of(*HANG[service]))
    await outage(ground, fleet, KINDS[service], frozen, 60)


@pytest.mark.parametrize("node", ["ep2", "gpu2", "ctl", "ap", "cm", "iam"])
async def test_a_host_cut_off_for_20_s_costs_no_session(ground, fleet, node):
    kinds = {"iam": (HTCONDOR, SLURM), "gpu2": (SLURM,), "ctl": (SLURM,)}.get(node, (HTCONDOR,))
    await outage(ground, fleet, kinds, ground.cut(node), 20)


async def _churn(fleet, kind, server, until):
    """Start and stop a server, over and over, as somebody impatient would."""
    guest = fleet.guest(kind, server)
    while time.monotonic() < until:
        guest.refusal = ""
        await guest.click()
        await asyncio.sleep(random.uniform(2, 30))
        await guest.ask_to_stop()
        await guest.gone(limit=300)
        await guest.close_page()


async def _one_fault(ground, chance):
    seconds = chance.uniform(3, 30)
    kind = chance.choice(["away", "hang", "cut", "hub"])
    if kind == "hub":
        await ground.kill_hub()
        await ground.start("hub")
        return
    if kind == "away":
        fault = ground.away(chance.choice(list(KINDS)))
    elif kind == "hang":
        fault = ground.frozen(ground.pids_of(*HANG[chance.choice(list(HANG))]))
    else:
        fault = ground.cut(chance.choice(["ep2", "gpu2", "ctl", "ap", "iam"]))
    async with fault:
        await asyncio.sleep(seconds)


async def test_an_hour_of_faults_at_random_loses_nothing_and_leaves_nothing(ground, fleet):
    seed = int(os.environ.get("ROOST_SOAK_SEED", str(random.randrange(10**6))))
    print(f"ROOST_SOAK_SEED={seed}")
    chance = random.Random(seed)
    until = time.monotonic() + 60 * MINUTES
    kept = [fleet.guest(kind, "kept") for kind in (HTCONDOR, SLURM)]
    for guest in kept:
        await (await guest.click()).ready()
        await guest.remember()
    churns = [
        asyncio.create_task(_churn(fleet, kind, f"churn{number}", until))
        for kind, count in ((HTCONDOR, 4), (SLURM, 3))
        for number in range(count)
    ]
    while time.monotonic() < until:
        await _one_fault(ground, chance)
        await asyncio.sleep(chance.uniform(0, 40))
    await asyncio.gather(*churns)
    await asyncio.gather(*(guest.unharmed() for guest in kept))
    await fleet.end()
