"""The hub killed at any moment: nothing lost, nothing left, nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

from tests.support.ground import HTCONDOR, SLURM
from tests.support.guest import until

pytestmark = pytest.mark.pool

BOTH = (HTCONDOR, SLURM)


async def test_the_hub_killed_finds_every_session_and_cuts_nobodys_connection(ground, fleet):
    await fleet.into_every_state(*BOTH)
    running = [fleet.guest(kind, "running") for kind in BOTH]
    async with contextlib.AsyncExitStack() as stack:
        notebooks = [await stack.enter_async_context(one.open_notebook()) for one in running]
        await ground.kill_hub()
        for guest, run in zip(running, notebooks, strict=True):
            # The proxy is a service of its own: who works does not notice, and a page loads anew.
            assert await run("print(held)") == "what took an hour"
            assert await guest.person.enter(guest.server) == 200
        await ground.start("hub")
        # A hub with all of it in mind is killed again, at once.
        await ground.kill_hub()
        await ground.start("hub")
        for guest, run in zip(running, notebooks, strict=True):
            assert await run("print(held)") == "what took an hour"
            assert await guest.person.enter(guest.server) == 200
    await fleet.come_through(*BOTH, clicked=False)
    await fleet.end()


async def test_a_proxy_that_starts_anew_is_told_where_the_sessions_are(ground, fleet):
    guests = [await fleet.guest(kind, "proxied").click() for kind in BOTH]
    for guest in guests:
        await guest.ready()
        await guest.remember()
    await ground.stop("proxy")
    await ground.start("proxy")
    for guest in guests:
        await guest.unharmed()
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


def _queue_pids(ground):
    """Return the processes of the services that take submits."""
    return ground.pids_of("ap", "condor_schedd") + ground.pids_of("ctl", "slurmctld")


async def test_the_hub_killed_between_submit_and_save_adopts_the_job(ground, fleet):
    guests = [fleet.guest(kind, "between") for kind in BOTH]
    await ground.close(*BOTH)
    async with ground.frozen(_queue_pids(ground)):
        clicks = [asyncio.create_task(guest.click()) for guest in guests]
        await asyncio.gather(*(_submitting(ground, guest) for guest in guests))
        await asyncio.sleep(1)  # the submits are on their way, and nobody can answer them
        for pid in ground.pids_of("hub", "jupyterhub", "--config"):
            os.kill(pid, signal.SIGSTOP)  # it will not hear the answers
    for guest in guests:
        await until(guest.jobs, f"{guest}'s job is in the queue")
    await ground.kill_hub()
    for guest in guests:
        record = ground.record(guest.person.name, guest.server)
        assert not record["job_id"], f"{guest} was saved: no test"
    await asyncio.gather(*clicks)
    await ground.start("hub")
    await ground.open(*BOTH)
    await asyncio.gather(*(guest.usable() for guest in guests))
    await fleet.end()


async def test_the_hub_killed_before_the_submit_reached_the_queue_leaves_nothing(ground, fleet):
    guests = [fleet.guest(kind, "before") for kind in BOTH]
    async with ground.frozen(_queue_pids(ground)):
        clicks = [asyncio.create_task(guest.click()) for guest in guests]
        await asyncio.gather(*(_submitting(ground, guest) for guest in guests))
        await ground.kill_hub()
        await asyncio.gather(*clicks)
    await ground.start("hub")

    def decided(guest):
        async def known() -> bool:
            model = await guest.model()
            # What the hub still has in its records it goes on with, though it shows no server yet.
            kept = ground.records().get((guest.person.name, guest.server))
            return (model == {} and not kept) or bool((model or {}).get("ready"))

        return until(known, f"{guest} is there, or not")

    # A request that had left when the hub died may be taken or not: a session, or nothing.
    await asyncio.gather(*(decided(guest) for guest in guests))
    await fleet.end()
