"""From HTCondor to Slurm and back: what does not start in time starts elsewhere."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.condor import PoolTalk
from tests.support.ground import HTCONDOR, SLURM, Ground
from tests.support.guest import until
from tests.support.pool import start_startd, stop_startd
from tests.support.slurm import SlurmTalk

pytestmark = pytest.mark.pool

SITE_FILE = "/etc/roost/site.yaml"
PROFILES = """
  to-slurm: {title: First on HTCondor, cluster: pool, slot: reserved, cpus: 1, memory: 1 GiB,
    walltime: 1h, overflow: [on-slurm], patience: 6s}
  on-slurm: {title: Then on Slurm, cluster: cluster, partition: gpu, cpus: 1, memory: 1 GiB,
    gpus: 1, walltime: 1h}
  to-condor: {title: First on Slurm, cluster: cluster, partition: gpu, cpus: 1, memory: 1 GiB,
    gpus: 1, walltime: 1h, overflow: [on-condor], patience: 6s}
  on-condor: {title: Then on HTCondor, cluster: pool, slot: reserved, cpus: 1, memory: 1 GiB,
    walltime: 1h}
"""
SLEEP = "import time; time.sleep(240)"
WHO = "import getpass, socket; print(getpass.getuser(), socket.gethostname())"


@pytest.fixture
async def ground(testbed):
    """The pool, whose hub has profiles with somewhere to go."""
    hub = testbed.hosts["hub"]
    before = hub.read(SITE_FILE)
    hub.write(SITE_FILE, before + PROFILES)
    await asyncio.sleep(1.2)  # the hub looks at its date once a second
    found = Ground(testbed)
    yield found
    await found.open(HTCONDOR, SLURM)
    hub.write(SITE_FILE, before)
    await asyncio.sleep(1.2)


async def runs_on(alice, node):
    """Assert that her server runs on such a node, as her."""
    (printed,) = await alice.run(WHO)
    who, _, where = printed.partition(" ")
    assert who == "alice"
    assert where.startswith(node), where


async def none_left(ground, kind):
    """Assert that alice's first job leaves the queue, while her server runs."""

    async def none():
        return not [job for job in await ground.jobs(kind) if job.owner == "alice" and job.alive]

    await until(none, f"no job of alice's in the queue of {kind}", 30)


@pytest.mark.parametrize(
    ("profile", "closed", "node", "words"),
    [
        (
            "to-slurm",
            HTCONDOR,
            "gpu",
            "First on HTCondor did not start within 6s: trying Then on Slurm on cluster instead.",
        ),
        ("to-condor", SLURM, "ep", ": trying Then on HTCondor on pool instead."),
    ],
)
async def test_a_notebook_that_waits_too_long_comes_up_on_the_other_cluster(
    ground, alice, profile, closed, node, words
):
    await ground.close(closed)
    ready = await alice.start(profile)
    said = [message for message in ready.messages if words in message]
    assert len(said) == 1, ready.messages
    await runs_on(alice, node)
    await none_left(ground, closed)
    _, status = await alice.api("GET", "roost/v1/servers/alice")
    assert status["asked_profile"] == profile
    assert status["profile"] == profile.replace("to-", "on-")


async def test_where_other_jobs_have_every_reserved_slot_it_comes_up_on_slurm(
    testbed, ground, alice
):
    talk, jobs = PoolTalk(testbed), []

    async def free():
        return (await talk.pool.capacity()).pools["reserved"].free

    async def full():
        return await free() == 0

    stop_startd(testbed, "ep2")
    try:
        wanted = await free()
        while len(jobs) < wanted:
            jobs.append(await talk.pool.submit(talk.wish(SLEEP), token=talk.token("bob")))
        await until(full, "all reserved slots are taken", 60)
        ready = await alice.start("to-slurm")
        words = "trying Then on Slurm on cluster instead."
        assert len([message for message in ready.messages if words in message]) == 1
        await runs_on(alice, "gpu")
        await none_left(ground, HTCONDOR)
    finally:
        for job in jobs:
            await talk.pool.cancel(job, token=talk.token("bob"))
        await talk.pool.close()
        start_startd(testbed, "ep2")


async def test_where_other_jobs_have_every_gpu_it_comes_up_on_htcondor(testbed, ground, alice):
    talk, jobs = SlurmTalk(testbed), []

    async def full():
        return (await talk.pool.capacity()).pools["gpu"].gpus_free == 0

    try:
        token = await talk.token("bob")
        for _ in range(2):
            wish = talk.wish(SLEEP, partition="gpu", gpus=2)
            jobs.append(await talk.pool.submit(wish, token=token))
        await until(full, "all GPUs are taken", 60)
        ready = await alice.start("to-condor")
        words = "trying Then on HTCondor on pool instead."
        assert len([message for message in ready.messages if words in message]) == 1
        await runs_on(alice, "ep")
        await none_left(ground, SLURM)
    finally:
        for job in jobs:
            await talk.pool.cancel(job, token=await talk.token("bob"))
        await talk.close()


async def test_where_the_access_point_is_away_it_comes_up_on_slurm(ground, alice):
    async with ground.away("schedd"):
        ready = await alice.start("to-slurm")
        await runs_on(alice, "gpu")
        assert "pool does not answer: trying Then on Slurm on cluster instead." in ready.messages
    await none_left(ground, HTCONDOR)
