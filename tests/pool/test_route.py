"""Where the proxy sends the browser, when a job says in its own ad that it is elsewhere."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.pool.test_internal_tls import LOOK, issued_to
from tests.support.chirp import write_own_ad
from tests.support.mallory import lives

pytestmark = pytest.mark.pool

LIES = [
    ("RemoteHost", '"notebook1@iam.roost.test"'),
    ("StartdIpAddr", '"<10.77.0.1:9618>"'),
    ("StartdPrincipal", '"execute-side@matchsession/10.77.0.1"'),
    ("PublicClaimId", '"<10.77.0.1:9618>#1#2"'),
    ("LastRemoteHost", '"notebook1@iam.roost.test"'),
]
OPEN = "95-test.conf"
UNPROTECTED = 'PROTECTED_JOB_ATTRS =\nRoostProtectedJobAttrs = ""\n'


def of_job(site, job_id, name):
    return site.hosts["ap"].run(["condor_q", job_id, "-af", name]).stdout.strip()


def lie(site):
    """Have alice's jobs say that they are elsewhere; whether there was one that could."""
    said = False
    for name in ("ep1", "ep2"):
        with contextlib.suppress(ValueError, RuntimeError, Exception):
            write_own_ad(site.hosts[name], "alice", LIES)
            said = True
    return said


async def certified(site, record):
    """Return the names in the certificate that a session's server shows."""
    where = [record["node"], str(record["port"])]
    command = ["/usr/bin/python3", "-c", LOOK, *where]
    shown = await asyncio.to_thread(site.hosts["hub"].run, command)
    return issued_to(shown.stdout)[0]


async def test_a_job_that_says_it_is_at_the_identity_provider_is_reached_where_it_is(
    testbed, mallory, alice
):
    await alice.start("interactive")
    record = mallory.records("alice")[-1]
    node = record["node"]
    assert node in {"ep1.roost.test", "ep2.roost.test"}
    assert record["placed"]
    write_own_ad(testbed.hosts[node.partition(".")[0]], "alice", LIES)
    assert of_job(testbed, record["job_id"], "RemoteHost").endswith(node)
    assert await certified(testbed, record) == {node, "hub.roost.test"}
    assert await lives(alice)
    assert mallory.records("alice")[-1]["node"] == node


@pytest.mark.long
async def test_where_an_access_point_protects_nothing_the_collector_says_where_the_job_is(
    testbed, mallory, alice
):
    point = testbed.hosts["ap"]
    file = f"/etc/condor/config.d/{OPEN}"
    point.write(file, UNPROTECTED)
    over = asyncio.Event()

    async def keep_lying():
        while not over.is_set():
            await asyncio.to_thread(lie, testbed)
            await asyncio.sleep(0.05)

    try:
        point.run(["condor_reconfig"])
        await asyncio.sleep(12)  # until the collector has the access point's ad of now
        await mallory.stop("hub")
        await mallory.start("hub")
        await alice.login()
        lying = asyncio.ensure_future(keep_lying())
        try:
            await alice.start("interactive")
        finally:
            over.set()
            await lying
        record = mallory.records("alice")[-1]
        assert of_job(testbed, record["job_id"], "RemoteHost") == "notebook1@iam.roost.test"
        assert record["node"] in {"ep1.roost.test", "ep2.roost.test"}
        assert await certified(testbed, record) == {record["node"], "hub.roost.test"}
        assert await lives(alice)
    finally:
        over.set()
        point.run(["rm", "-f", file])
        point.run(["condor_reconfig"])
        await mallory.start("hub")
