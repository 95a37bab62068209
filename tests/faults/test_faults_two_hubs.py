"""Two hubs on one access point, and on one broker: each sees to its own jobs and to no others."""

from __future__ import annotations

import asyncio

import pytest

from testbed.demo.person import Person
from tests.support.fleet import Fleet
from tests.support.ground import HTCONDOR, SLURM
from tests.support.guest import until
from tests.support.second_hub import URL, second_hub

pytestmark = pytest.mark.pool

BOTH = (HTCONDOR, SLURM)


async def _users(site, *names):
    """Log people in at the second hub, with cookies of their own."""
    people = {}
    for name in names:
        password = next(person.password for person in site.people if person.name == name)
        ca_file = str(site.folders.ca_certificate)
        people[name] = Person(name, password, hub=URL, ca_file=ca_file)
        await people[name].login()
    return people


async def _sessions(fleet, name):
    guests = [fleet.guest(kind, name) for kind in BOTH]
    for guest in guests:
        await guest.click()
    return guests


async def _run(fleet, name):
    guests = await _sessions(fleet, name)
    await asyncio.gather(*(guest.ready() for guest in guests))
    await asyncio.gather(*(guest.remember() for guest in guests))
    return guests


async def _unharmed(*guests):
    await asyncio.gather(*(guest.unharmed() for guest in guests))


async def test_a_hub_removes_and_adopts_its_own_jobs_and_leaves_another_hubs_alone(ground, fleet):
    async with second_hub(ground) as second:
        people = await _users(ground.site, "alice", "bob")
        others = Fleet(second, people)
        try:
            await _two_hubs(ground, fleet, second, others)
        finally:
            await others.close()
            ground.furnish(*people)  # the homes are the same
            for person in people.values():
                await person.__aexit__(None, None, None)


async def test_a_copied_hub_with_the_same_hub_id_and_its_original_leave_each_others_jobs_alone(
    ground, fleet
):
    async with second_hub(ground, ground.hub_id) as copy:
        people = await _users(ground.site, "alice", "bob")
        others = Fleet(copy, people)
        try:
            ours, theirs = await _run(fleet, "running"), await _run(others, "running")
            for service in ("hub", copy.service):
                log = ground.site.hosts["hub"].logs / f"{service}.log"

                async def told(log=log):
                    return "Does another hub have the hub_id" in log.read_text()

                await until(told, f"{service} has told its admin of the other", 60)
            await asyncio.sleep(25)  # the first removed the other's jobs after 19 s
            await _unharmed(*ours, *theirs)
            # Their jobs cannot be told apart by the hub_id: the queues are empty after both.
            await asyncio.gather(*(guest.ask_to_stop() for guest in others.guests))
            await asyncio.gather(*(guest.gone() for guest in others.guests))
            await fleet.end()
        finally:
            await others.close()
            ground.furnish(*people)
            for person in people.values():
                await person.__aexit__(None, None, None)


async def _two_hubs(ground, fleet, second, others):
    # The same people, the same names of servers.
    ours, theirs = await _run(fleet, "running"), await _run(others, "running")
    await ground.close(*BOTH)
    waiting = [*await _sessions(fleet, "queued"), *await _sessions(others, "queued")]
    await asyncio.gather(*(guest.queued() for guest in waiting))

    # One loses its memory: all its jobs are orphans to it, and it removes them.  Only them.
    await second.kill_hub()
    await second.forget_everything()
    await second.begin()

    async def reaped():
        return all(job.kind not in BOTH or not job.alive for job in await second.jobs())

    await until(reaped, "the second hub has removed what it no longer knows")
    await _unharmed(*ours)
    for guest in waiting[:2]:
        (job,) = await guest.jobs()
        assert job.alive, f"{guest}: {job}"
    await ground.open(*BOTH)
    await asyncio.gather(*(guest.usable() for guest in waiting[:2]))

    # The other way round, and with its memory: what it takes up is its own.
    for guest in others.guests:
        await guest.close_page()
    others.guests.clear()
    for person in others.people.values():
        await person.login()
    theirs = await _run(others, "running")
    await ground.kill_hub()
    await ground.start("hub")
    await _unharmed(*ours, *waiting[:2], *theirs)
    await second.kill_hub()
    await second.begin()
    await _unharmed(*ours, *waiting[:2], *theirs)
    await others.end()
    await fleet.end()
