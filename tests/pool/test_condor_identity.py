"""As whom jobs are submitted, and every way in which somebody else's must fail."""

from __future__ import annotations

import asyncio
import time

import pytest
from roost_spawner.clusters.base import JobState, Room
from roost_spawner.clusters.htcondor import submit
from roost_spawner.clusters.htcondor.channel import CallFailed
from roost_spawner.errors import ClusterRefused, NotAuthorized

from tests.support.condor import HUB_ID, SCOPES, PoolTalk

pytestmark = pytest.mark.pool

SLEEP = "import time; time.sleep(120)"

# Writes into its own ad through the starter, as the agent does, and then what it must not.
CHIRP = """
import os, socket, time
host, port, cookie = open(os.environ['_CONDOR_SCRATCH_DIR'] + '/.chirp.config').read().split()
line = socket.create_connection((host, int(port))).makefile('rw')
def say(text):
    line.write(text + chr(10)); line.flush()
    return line.readline().strip()
say('cookie ' + cookie)
for name, value in {wishes!r}:
    say('set_job_attr %s %s' % (name, value))
say('set_job_attr RoostKeyHash "done"')
time.sleep(120)
"""


async def until(talk, job_id, good, seconds=30):
    end = time.monotonic() + seconds
    while True:
        view = await talk.pool.look(job_id)
        if good(view):
            return view
        assert time.monotonic() < end, f"job {job_id} is not as wanted: {view}"
        await asyncio.sleep(0.1)


def running(view):
    return view is not None and view.state is JobState.RUNNING


def subject(site, name):
    return next(person.subject for person in site.people if person.name == name)


async def refused(talk, token, **change):
    """Submit what the hub never would, and return what HTCondor said to it."""
    wish = submit.description(talk.wish(SLEEP)) | change
    with pytest.raises(CallFailed) as failed:
        await talk.call("submit", token=token, description=wish)
    assert failed.value.kind == "htcondor"
    return str(failed.value)


async def test_a_job_is_its_users_own_and_runs_in_a_reserved_slot_at_once(talk, testbed):
    wish = talk.wish(SLEEP)
    job_id = await talk.pool.submit(wish, token=talk.token("bob"))
    view = await until(talk, job_id, running, seconds=15)
    assert view.mark == wish.mark
    assert (view.owner, view.issuer) == ("bob", testbed.issuer)
    assert view.subject == subject(testbed, "bob")
    assert view.slot.startswith("notebook")
    assert view.node in {"ep1.roost.test", "ep2.roost.test"}
    assert (await talk.pool.watch())[job_id].state is JobState.RUNNING


async def test_nobody_submits_as_another_user(talk):
    said = await refused(talk, talk.token("alice"), **{"My.Owner": '"bob"'})
    assert "Setting owner to bob when active owner is alice is not permitted" in said


async def test_a_token_for_another_audience_is_no_identity(talk, testbed):
    token = talk.token("alice", audience=testbed.broker_audience)
    with pytest.raises(NotAuthorized, match="did not accept your identity"):
        await talk.pool.submit(talk.wish(SLEEP), token=token)


@pytest.mark.parametrize("missing", ["compute.create", "compute.modify", "compute.cancel"])
async def test_a_token_without_one_of_the_scopes_may_not_submit(talk, missing):
    token = talk.token("alice", scopes=[scope for scope in SCOPES if scope != missing])
    with pytest.raises(NotAuthorized, match="does not allow you to submit"):
        await talk.pool.submit(talk.wish(SLEEP), token=token)


async def test_compute_read_alone_submits_nothing(talk):
    with pytest.raises(NotAuthorized, match="does not allow you to submit"):
        await talk.pool.submit(talk.wish(SLEEP), token=talk.token("alice", scopes=["compute.read"]))


@pytest.mark.parametrize("broken", ["", "eyJhbGciOiJub25lIn0.e30.", "x" * 2000])
async def test_what_is_no_token_is_no_identity(talk, broken):
    with pytest.raises(NotAuthorized, match="did not accept your identity"):
        await talk.pool.submit(talk.wish(SLEEP), token=broken)


async def test_a_token_with_a_changed_claim_is_no_identity(talk):
    head, body, signature = talk.token("alice").split(".")
    forged = f"{head}.{body[:-4]}AAAA.{signature}"
    with pytest.raises(NotAuthorized, match="did not accept your identity"):
        await talk.pool.submit(talk.wish(SLEEP), token=forged)


async def test_the_watcher_may_read_and_not_submit(talk):
    with pytest.raises(CallFailed, match="DENIED") as failed:
        await talk.call("submit", lane="watch", description=submit.description(talk.wish(SLEEP)))
    assert "roost-watch@roost.test" in str(failed.value)


async def test_the_watcher_may_not_remove_a_job(talk):
    job_id = await talk.pool.submit(talk.wish(SLEEP), token=talk.token("bob"))
    with pytest.raises(CallFailed):
        await talk.call("remove", lane="watch", job_id=job_id, reason="no")
    assert (await talk.pool.look(job_id)).state.alive


async def test_another_users_job_is_not_theirs_to_stop(talk):
    job_id = await talk.pool.submit(talk.wish(SLEEP), token=talk.token("bob"))
    await until(talk, job_id, running)
    with pytest.raises(NotAuthorized):
        await talk.pool.cancel(job_id, token=talk.token("alice"))
    assert (await talk.pool.look(job_id)).state is JobState.RUNNING
    await talk.pool.cancel(job_id, token=talk.token("bob"))
    await until(talk, job_id, lambda view: view is None)
    await talk.pool.cancel(job_id, token=talk.token("bob"))  # gone already: no error


def test_a_users_token_is_worth_nothing_on_a_node(testbed):
    talk, node = PoolTalk(testbed), testbed.hosts["ep1"]
    schedd = testbed.hosts["cm"].run(
        ["condor_status", "-schedd", testbed.hosts["ap"].fqdn, "-af", "MyAddress"]
    )
    wish = submit.description(talk.wish(SLEEP))
    text = "\n".join(f"{name} = {value}" for name, value in wish.items()) + "\nqueue\n"
    token = "/tmp/stolen-token"
    node.write(token, talk.token("alice"), owner="alice", mode=0o600)
    try:
        done = node.run(
            ["condor_submit", "-addr", schedd.stdout.strip(), "-"],
            user="alice",
            input=text,
            env={
                "BEARER_TOKEN_FILE": token,
                "_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS": "SCITOKENS",
                "_CONDOR_AUTH_SSL_CLIENT_CAFILE": "/etc/roost/tls/ca.crt",
            },
            check=False,
            timeout=60,
        )
    finally:
        node.run(["rm", token])
    assert done.returncode != 0
    # It is alice, beyond doubt; but not from here.
    assert '"DENIED" from server for user alice@roost.test using method SCITOKENS' in done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"My.IsRoostNotebook": "false"}, "takes notebooks only"),
        ({"My.RoostSession": '"other-hub/abcdefgh"'}, "needs a session mark"),
        ({"My.RoostHub": '""'}, "needs a session mark"),
        ({"My.RoostKeyHash": '"mine"'}, "needs a session mark"),
        ({"universe": "local"}, "vanilla universe"),
        ({"request_memory": "2048"}, "1280 MiB of memory; 2048 MiB were asked for"),
        ({"request_cpus": "2"}, "1 CPU"),
        ({"My.RoostWalltime": "999999"}, "999999 was asked for"),
        ({"My.RoostWalltime": "undefined"}, "walltime is 1 to 86400 s"),
        ({"log": "/tmp/log"}, "no log"),
        ({"hold": "true"}, "not submitted on hold"),
    ],
)
async def test_what_is_no_notebook_within_the_limits_is_refused_with_a_sentence(
    talk, change, words
):
    assert words in await refused(talk, talk.token("alice"), **change)


async def test_a_refusal_reaches_the_user_as_the_access_point_wrote_it(talk):
    with pytest.raises(ClusterRefused, match="2048 MiB were asked for"):
        await talk.pool.submit(talk.wish(SLEEP, memory_mib=2048), token=talk.token("alice"))


async def test_limits_that_a_submit_would_loosen_are_put_back(talk, testbed):
    wish = submit.description(talk.wish(SLEEP)) | {
        "requirements": "true",
        "rank": "TARGET.PartitionableSlot",
        "job_lease_duration": "999999",
        "job_max_vacate_time": "999999",
        "My.WantIOProxy": "true",
        "leave_in_queue": "true",
        "priority": "20",
        "accounting_group": "higgs",
        "keep_claim_idle": "9999",
    }
    job_id = await talk.call("submit", token=talk.token("bob"), description=wish)
    view = await until(talk, job_id, running)
    assert view.slot.startswith("notebook")
    wanted = {
        "JobLeaseDuration": "120",
        "JobMaxVacateTime": "30",
        "WantIOProxy": "false",
        "JobPrio": "0",
        "AccountingGroup": "notebooks.bob",
        "KeepClaimIdle": "undefined",
    }
    command = ["condor_q", job_id, "-af", *wanted]
    found = testbed.hosts["ap"].run(command).stdout.split()
    assert dict(zip(wanted, found, strict=True)) == wanted


async def test_a_job_may_show_its_key_and_not_change_what_was_checked(talk, testbed):
    wishes = [
        ("RoostSession", '"roost-test/another1"'),
        ("RoostHub", '"roost-test"'),
        ("RoostWalltime", "99999999"),
        ("Owner", '"bob"'),
        ("AuthTokenSubject", '"x"'),
        ("PeriodicRemove", "false"),
        ("WantIOProxy", "true"),
        ("JobLeaseDuration", "999999"),
        ("LeaveJobInQueue", "true"),
    ]
    wish = talk.wish(CHIRP.format(wishes=wishes))
    job_id = await talk.pool.submit(wish, token=talk.token("alice"))
    view = await until(talk, job_id, lambda view: view.key_hash == "done")
    assert view.mark == wish.mark
    assert view.owner == "alice"
    assert view.subject == subject(testbed, "alice")
    assert HUB_ID in (await talk.pool.watch())[job_id].mark
    command = ["condor_q", job_id, "-af", "RoostWalltime", "WantIOProxy", "JobLeaseDuration"]
    assert testbed.hosts["ap"].run(command).stdout.split() == ["300", "false", "120"]


async def test_a_job_beyond_its_memory_is_ended_and_says_so(talk):
    code = "x = []\nwhile True: x.append(b'x' * 50000000)"
    job_id = await talk.pool.submit(talk.wish(code), token=talk.token("bob"))
    view = await until(talk, job_id, lambda view: view.state is JobState.HELD, seconds=60)
    assert view.reason == "The notebook used more memory than its slot has (1280 MiB)."
    assert "memory limit" in view.detail


async def test_an_evicted_job_is_over_and_says_so(talk, testbed):
    job_id = await talk.pool.submit(talk.wish(SLEEP), token=talk.token("bob"))
    await until(talk, job_id, running)
    testbed.hosts["ap"].run(["condor_vacate_job", job_id])
    view = await until(
        talk, job_id, lambda view: view is None or view.state is JobState.ENDED, seconds=40
    )
    assert view is not None
    assert "does not start a second time" in view.reason
    await until(talk, job_id, lambda view: view is None or view.state is JobState.ENDED)


async def test_capacity_counts_the_reserved_slots_and_the_cores_that_are_left(talk):
    job_id = await talk.pool.submit(talk.wish(SLEEP), token=talk.token("bob"))
    await until(talk, job_id, running)
    view = (await talk.pool.watch())[job_id]
    end = time.monotonic() + 10
    while True:  # the collector hears of it a moment later
        pools = (await talk.pool.capacity()).pools
        reserved, ordinary = pools["reserved"], pools["ordinary"]
        if 0 < reserved.free < reserved.total:
            break
        assert time.monotonic() < end, pools
        await asyncio.sleep(0.2)
    assert (reserved.total, reserved.unit, reserved.problem) == (32, "slots", "")  # 8 x 2 x 2
    assert reserved.rooms == (Room(32, 1, 1280),)
    assert reserved.free_rooms == (Room(reserved.free, 1, 1280),)
    assert view.started_at < reserved.next_end_at <= view.ends_at
    assert (ordinary.total, ordinary.unit, ordinary.next_end_at) == (4, "cores", None)
    assert sum(room.count for room in ordinary.rooms) == 2
    assert all(room.cpus == 2 for room in ordinary.rooms)


async def test_a_drained_node_is_no_place(talk, testbed):
    startd, manager = testbed.hosts["ep2"].fqdn, testbed.hosts["cm"]
    manager.run(["condor_drain", "-fast", startd])
    try:
        end = time.monotonic() + 20
        while (pool := (await talk.pool.capacity()).pools["reserved"]).rooms[0].count != 16:
            assert time.monotonic() < end, pool
            await asyncio.sleep(0.2)
        assert pool.total == 32
        assert pool.free <= 16
    finally:
        manager.run(["condor_drain", "-cancel", startd])
