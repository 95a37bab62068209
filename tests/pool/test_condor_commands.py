"""Submit commands of a profile that are no good, as the real pool's library turns them down."""

from __future__ import annotations

import dataclasses

import pytest
from roost_spawner.clusters.htcondor import commands
from roost_spawner.errors import NoJob

from tests.support.condor import PoolTalk

pytestmark = pytest.mark.pool

WRONG = {
    "+Project": '"atlas',
    "My.Site": "Memory +",
    "rank": "Memory +",
    "requirements": "TARGET.Memory >",
    "request_disk": "RequestMemory 2 *",
    "stack_size": "(Big",
    "nice_user": "MY.Nice > 3",
    "accounting_group": "a b",
}
# Each with what the job's ad has of it.
RIGHT = {
    "+Project": (r'"C:\"', "Project", r'"C:\"'),
    "request_disk": ("2GB", "RequestDisk", "2097152"),
    "stack_size": ("1048576", "StackSize", "1048576"),
    "want_graceful_removal": ("JobPrio > 3", "WantGracefulRemoval", "JobPrio > 3"),
}


@pytest.fixture
async def submit(testbed):
    """Submit a small job as bob, with more commands; stop it at the end."""
    talk = PoolTalk(testbed)
    token, jobs = talk.token("bob"), []

    async def submit(**extras):
        wish = dataclasses.replace(talk.wish("import time; time.sleep(60)"), extras=extras)
        jobs.append(await talk.pool.submit(wish, token=token))
        return jobs[-1]

    yield submit
    for job_id in jobs:
        await talk.pool.cancel(job_id, token=token)
    await talk.pool.close()


async def test_a_command_that_htcondor_cannot_use_is_refused_by_name_and_is_no_outage(submit):
    for name, value in WRONG.items():
        with pytest.raises(NoJob) as refused:
            await submit(**({"rank": "Memory"} | {name: value}))
        assert not refused.value.retryable
        assert f": {commands.wrong(name, value)}. Tell" in refused.value.sentence


async def test_a_command_of_the_right_kind_means_in_the_job_what_it_says(submit, testbed):
    job_id = await submit(**{name: value for name, (value, _, _) in RIGHT.items()})
    ap = testbed.hosts["ap"]
    for _, attribute, expected in RIGHT.values():
        said = ap.run(["condor_q", job_id, "-af:r", attribute]).stdout.strip()
        assert said == expected, attribute
