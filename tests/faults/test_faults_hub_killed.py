"""The hub killed at any moment: nothing lost, nothing left, nothing twice."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.support.ground import HTCONDOR, SLURM
from tests.support.guest import until

pytestmark = pytest.mark.pool

BOTH = (HTCONDOR, SLURM)


async def test_the_hub_killed_finds_every_session_in_every_state(ground, fleet):
    await fleet.into_every_state(*BOTH)
    await ground.kill_hub()
    for kind in BOTH:
        # The proxy is a process of its own: who works does not notice.
        await fleet.guest(kind, "running").execute("print(held)")
    await ground.start("hub")
    # A hub with all of it in mind is killed again, at once.
    await ground.kill_hub()
    await ground.start("hub")
    await fleet.come_through(*BOTH, clicked=False)
    await fleet.end()


async def test_what_becomes_of_a_job_while_no_hub_is_there_is_known_to_the_next(ground, fleet):
    """Queued jobs start, starting servers come up, running ones end, each without the hub."""
    await fleet.into_every_state(*BOTH)
    ended = [fleet.guest(kind, "late") for kind in BOTH]
    await ground.kill_hub()
    await ground.open(*BOTH)
    for kind in BOTH:
        fleet.guest(kind, "starting").release()
    for guest in ended:
        os.kill(ground.server_pids(guest.person.name, guest.server)[0], signal.SIGKILL)
    await asyncio.gather(*(fleet.guest(kind, "queued").runs() for kind in BOTH))
    await ground.start("hub")
    await fleet.come_through(*BOTH, clicked=False)
    await fleet.end()


async def _submitting(ground, guest):
    """Wait until the hub has committed that it is about to submit."""

    async def noted() -> bool:
        return bool(ground.record(guest.person.name, guest.server).get("submitting"))

    await until(noted, f"{guest} is being submitted")


def _queue_pids(ground, kind):
    """Return the processes of the service that takes submits."""
    if kind == HTCONDOR:
        return ground.pids_of("ap", "condor_schedd")
    return ground.pids_of("ctl", "slurmctld")


@pytest.mark.parametrize("kind", BOTH)
async def test_the_hub_killed_between_submit_and_save_adopts_the_job(ground, fleet, kind):
    guest = fleet.guest(kind, "between")
    await ground.close(kind)
    async with ground.frozen(_queue_pids(ground, kind)):
        click = asyncio.create_task(guest.click())
        await _submitting(ground, guest)
        await asyncio.sleep(1)  # the submit is on its way, and nobody can answer it
        hub = ground.pids_of("hub", "jupyterhub", "--config")
        for pid in hub:
            os.kill(pid, signal.SIGSTOP)  # it will not hear the answer
    await until(guest.jobs, f"{guest}'s job is in the queue")
    await ground.kill_hub()
    assert not ground.record(guest.person.name, guest.server)["job_id"], "it was saved: no test"
    await click
    await ground.start("hub")
    await ground.open(kind)
    await guest.usable()
    await fleet.end()


@pytest.mark.parametrize("kind", BOTH)
async def test_the_hub_killed_before_the_submit_reached_the_queue_leaves_nothing(
    ground, fleet, kind
):
    guest = fleet.guest(kind, "before")
    async with ground.frozen(_queue_pids(ground, kind)):
        click = asyncio.create_task(guest.click())
        await _submitting(ground, guest)
        await ground.kill_hub()
        await click
    await ground.start("hub")

    async def decided() -> bool:
        model = await guest.model()
        return model == {} or bool((model or {}).get("ready"))

    # A request that had left when the hub died may be taken or not: a session, or nothing.
    await until(decided, f"{guest} is there, or not")
    await fleet.end()
