"""The access point's disk is full: no session is lost, and it goes on when there is room again."""

from __future__ import annotations

import asyncio
import time

import pytest
from roost_spawner.clusters.base import JobState
from roost_spawner.errors import ClusterUnreachable

from testbed import lifecycle
from testbed.steps import Printer
from tests.support.condor import PoolTalk

pytestmark = pytest.mark.pool

SLEEP = "import time; time.sleep(120)"


@pytest.fixture
def small_spool(testbed):
    """A spool of 2 MiB for the schedd; the real one is put back with what has been added."""
    host = testbed.hosts["ap"]
    spool = host.run(["condor_config_val", "SPOOL"]).stdout.strip()
    schedd = lifecycle.find_service(testbed, "schedd")

    def while_stopped(script):
        lifecycle.stop_service(testbed, schedd)
        host.run(["sh", "-ec", script])
        lifecycle.start_service(testbed, schedd, Printer())

    while_stopped(
        f"rm -rf /tmp/spool; cp -a {spool} /tmp/spool; mount -t tmpfs -o size=2m tmpfs {spool}; "
        f"cp -a /tmp/spool/. {spool}; chown condor: {spool}"
    )
    yield f"{spool}/filler"
    while_stopped(
        f"rm -rf {spool}/filler /tmp/spool; cp -a {spool} /tmp/spool; umount --lazy {spool}; "
        f"cp -a /tmp/spool/. {spool}; rm -r /tmp/spool"
    )


async def once(ask, seconds=60):
    """Return what `ask` gives, as soon as the access point answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            return await ask()
        except ClusterUnreachable:
            assert time.monotonic() < end, "the access point does not come back"
            await asyncio.sleep(0.5)


async def runs(talk, job_id):
    """Wait until a job runs."""
    view = None
    while view is None or view.state is not JobState.RUNNING:
        await asyncio.sleep(0.1)
        view = await talk.pool.look(job_id)


async def submit_many(talk, token, jobs):
    """Submit until that fails: the last page of the schedd's log may have room for some more."""
    for _ in range(20):
        job_id = await talk.pool.submit(talk.wish(SLEEP), token=token)
        jobs.append(job_id)


async def test_a_full_spool_loses_no_session_and_takes_new_ones_when_there_is_room(
    testbed, small_spool
):
    talk, host = PoolTalk(testbed), testbed.hosts["ap"]
    token = talk.token("bob")
    others = set(await once(talk.pool.watch))
    jobs = [await once(lambda: talk.pool.submit(talk.wish(SLEEP), token=token))]
    try:
        await asyncio.wait_for(runs(talk, jobs[0]), 30)
        host.run(["dd", "if=/dev/zero", f"of={small_spool}", "bs=1k"], check=False)
        # The schedd of 23.9 ends at the first write that fails; its master starts it again.
        with pytest.raises(ClusterUnreachable):
            await submit_many(talk, token, jobs)
        with pytest.raises(ClusterUnreachable):
            await talk.pool.watch()
        host.run(["rm", small_spool])
        jobs.append(await once(lambda: talk.pool.submit(talk.wish(SLEEP), token=token)))
        assert (await talk.pool.look(jobs[0])).state is JobState.RUNNING
        # What was refused is not there, and whatever was taken is.
        assert set(await talk.pool.watch()) - others == set(jobs)
    finally:
        host.run(["rm", "-f", small_spool])
        for job_id in jobs:
            await once(lambda job_id=job_id: talk.pool.cancel(job_id, token=token))
        await talk.pool.close()
