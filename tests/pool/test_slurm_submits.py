"""A broker that ends in the middle of a submit, and what looking costs slurmctld."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from roost_spawner.errors import ClusterRefused, ClusterUnreachable, NotReached

from testbed import lifecycle
from testbed.services import slurm
from testbed.steps import Printer
from tests.support.slurm import SlurmTalk

pytestmark = pytest.mark.pool

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
async def talk(testbed):
    found = SlurmTalk(testbed)
    yield found
    await found.close()


@pytest.fixture(autouse=True)
async def _broker_is_back(testbed):
    yield
    service = lifecycle.find_service(testbed, "slurm-broker")
    await asyncio.to_thread(lifecycle.start_service, testbed, service, Printer())


@asynccontextmanager
async def slow_slurmctld(talk):
    """Keep slurmctld from answering: it takes what it is sent when it goes on."""
    host = talk.site.hosts["ctl"]
    pid = str(host.service_pid("slurmctld"))
    await asyncio.to_thread(host.run, ["kill", "-STOP", pid])
    try:
        yield
    finally:
        await asyncio.to_thread(host.run, ["kill", "-CONT", pid])


def broker(talk):
    return lifecycle.find_service(talk.site, "slurm-broker")


async def bearing(talk, mark):
    """Return the jobs with this mark, once there is one, and whether it stays one."""
    for _ in range(50):
        found = [view for view in (await talk.pool.watch()).values() if view.mark == mark]
        if found:
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(2)
    return [view for view in (await talk.pool.watch()).values() if view.mark == mark]


async def test_a_submit_that_the_broker_did_not_live_to_answer_is_one_job_found_by_its_mark(talk):
    token, wish = await talk.token("bob"), talk.wish(SLEEP)
    await talk.pool.watch()
    host = talk.site.hosts["ctl"]
    async with slow_slurmctld(talk):
        submit = asyncio.ensure_future(talk.pool.submit(wish, token=token))
        await asyncio.sleep(1)
        await asyncio.to_thread(host.run, ["kill", "-9", str(host.service_pid("slurm-broker"))])
        with pytest.raises(ClusterUnreachable) as caught:
            await submit
        assert not isinstance(caught.value, NotReached), "it may not be submitted again"
    await asyncio.to_thread(lifecycle.start_service, talk.site, broker(talk), Printer())
    (view,) = await bearing(talk, wish.mark)
    assert view.owner == "bob"


async def test_a_broker_that_is_stopped_answers_the_submit_under_way_first(talk):
    token, wish = await talk.token("bob"), talk.wish(SLEEP)
    async with slow_slurmctld(talk):
        submit = asyncio.ensure_future(talk.pool.submit(wish, token=token))
        await asyncio.sleep(1)
        stop = asyncio.ensure_future(
            asyncio.to_thread(lifecycle.stop_service, talk.site, broker(talk))
        )
        await asyncio.sleep(1)
    job_id = await submit
    await stop
    await asyncio.to_thread(lifecycle.start_service, talk.site, broker(talk), Printer())
    (view,) = await bearing(talk, wish.mark)
    assert view.job_id == job_id


@asynccontextmanager
async def connection(talk):
    context = ssl.create_default_context(cafile=str(talk.site.folders.ca_certificate))
    url = urlsplit(talk.site.broker_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def head(length):
    return f"POST /v1/jobs HTTP/1.1\r\nHost: broker\r\nContent-Length: {length}\r\n\r\n".encode()


async def test_a_large_or_a_slow_body_costs_its_sender_the_connection_and_nobody_else(talk):
    async def large():
        async with connection(talk) as (reader, writer):
            writer.write(head(100 << 20))
            return await asyncio.wait_for(reader.read(), 5)

    async def slow():
        began = time.monotonic()
        async with connection(talk) as (reader, writer):
            writer.write(head(1000) + b"{")
            with contextlib.suppress(OSError):
                assert await asyncio.wait_for(reader.read(), 20) == b""
            return time.monotonic() - began

    async def silent():
        async with connection(talk) as (_, writer):
            writer.write(b"POST /v1/jobs HTT")
            await asyncio.sleep(3)

    crowd = asyncio.gather(*(slow() for _ in range(50)), *(silent() for _ in range(50)))
    await asyncio.sleep(1)
    began = time.monotonic()
    assert isinstance(await talk.pool.watch(), dict)
    assert time.monotonic() - began < 5
    answer = await large()
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    lasted = [seconds for seconds in await crowd if seconds is not None]
    assert all(9 < seconds < 19 for seconds in lasted), lasted


PLUGIN = """
function slurm_job_submit(job, partitions, uid)
  slurm.log_user("Notebooks are closed on Sundays.")
  return slurm.ERROR
end
function slurm_job_modify(job, desc, partitions, uid)
  return slurm.SUCCESS
end
return slurm.SUCCESS
"""


@pytest.fixture
async def closed_on_sundays(testbed, monkeypatch):
    """Have slurmctld's own plugin refuse every job, as sites do that have rules of their own."""
    host, service = testbed.hosts["ctl"], lifecycle.find_service(testbed, "slurmctld")

    async def again():
        await asyncio.to_thread(lifecycle.stop_service, testbed, service)
        await asyncio.to_thread(lifecycle.start_service, testbed, service, Printer())

    usual = slurm.names_conf
    host.write("/etc/slurm/job_submit.lua", PLUGIN)
    monkeypatch.setattr(slurm, "names_conf", lambda site: usual(site) + "JobSubmitPlugins=lua\n")
    await again()
    yield
    monkeypatch.undo()
    await again()


@pytest.mark.usefixtures("closed_on_sundays")
async def test_a_job_that_the_clusters_own_plugin_refuses_is_refused(talk):
    with pytest.raises(ClusterRefused) as caught:
        await talk.pool.submit(talk.wish(SLEEP), token=await talk.token("bob"))
    assert caught.value.sentence == "The cluster's own rules refuse this job."
    log = (talk.site.hosts["ctl"].logs / "slurmrestd.log").read_text()
    assert "Notebooks are closed on Sundays." in log  # the only place where REST has them


async def test_looking_costs_slurmctld_one_query_however_many_look(talk):
    token = await talk.token("bob")
    jobs = [await talk.pool.submit(talk.wish(SLEEP), token=token) for _ in range(8)]
    clients = [talk.client() for _ in range(10)]
    await asyncio.gather(*(client.watch() for client in clients))
    await asyncio.sleep(1.1)
    await talk.admin("sdiag", "--reset")
    for _ in range(3):
        for seen in await asyncio.gather(*(client.watch() for client in clients)):
            assert set(jobs) <= seen.keys()
        await asyncio.gather(*(client.capacity() for client in clients))
        await asyncio.sleep(1.1)
    said = await talk.admin("sdiag")
    for client in clients:
        await client.close()
    calls = dict(re.findall(r"(REQUEST_\w+) +\( *\d+\) count:(\d+)", said))
    assert int(calls["REQUEST_JOB_INFO"]) == 3
    assert int(calls["REQUEST_NODE_INFO"]) == 3
