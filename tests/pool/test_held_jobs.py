"""A start that an admin holds goes on once it is released, and its user reads who holds it."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.guest import until

pytestmark = pytest.mark.pool


async def test_a_waiting_job_that_is_held_says_so_and_starts_after_its_release(
    testbed, alice, bob, mallory
):
    ap, ctl = testbed.hosts["ap"], testbed.hosts["ctl"]
    partition = ["scontrol", "update", "partitionname=gpu"]
    await mallory.stop("negotiator-nb")
    ctl.run([*partition, "state=down"])
    try:
        await asyncio.gather(alice.click({"profile": "interactive"}), bob.click({"profile": "gpu"}))
        jobs = {user: (await mallory.submitted(user))["job_id"] for user in ("alice", "bob")}
        ap.run(["condor_hold", "-reason", "disk check", jobs["alice"]])
        ctl.run(["scontrol", "hold", jobs["bob"]])
        for person, words in ((alice, '"disk check"'), (bob, "administrator holds")):

            async def held(person=person, words=words):
                _, status = await person.api("GET", f"roost/v1/servers/{person.name}")
                return status["state"] == "held" and words in status["why"] and not status["over"]

            await until(held, f"{person.name} reads who holds the job", 40)
        await asyncio.sleep(3)
        ap.run(["condor_release", jobs["alice"]])
        ctl.run(["scontrol", "release", jobs["bob"]])
    finally:
        ctl.run([*partition, "state=up"])
        await mallory.start("negotiator-nb")
    for person in (alice, bob):

        async def ready(person=person):
            _, user = await person.api("GET", f"users/{person.name}")
            return user["servers"][""]["ready"]

        await until(ready, f"{person.name}'s session is ready", 90)
        assert mallory.record(person.name)["job_id"] == jobs[person.name]
