"""What another user can try against a session at the hub and the schedulers, and what they get."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
import time

import pytest
from roost_spawner.bootstrap import agent_source, bootstrap_code
from roost_spawner.clusters.base import JobRequest, Launcher, Resources
from roost_spawner.clusters.slurm.submit import script
from roost_spawner.handoff import PREFIX

from tests.support.broker import BrokerTalk
from tests.support.condor import PoolTalk
from tests.support.handoff import head, new_key, talk
from tests.support.mallory import lives, settled

pytestmark = pytest.mark.pool

TOKEN = "import os; print(os.environ['JUPYTERHUB_API_TOKEN'])"
FLOOD = 200


async def ready(someone, server=""):
    async for event in someone.progress(server=server):
        assert not event.get("failed"), event
        if event.get("ready"):
            return
    raise AssertionError("the progress stream ended early")


# -- before the job is there -----------------------------------------------------------------------


async def storm(mallory, session_id, over, answers, body=None):
    """Ask for a bundle for as long as it takes, each time with a key of one's own."""
    while not over.is_set():
        wish = {"key": new_key()[0]} | (body or {})
        answers.append(await mallory.say(session_id, "bundle", wish))
        if answers[-1].status == 429:
            await asyncio.sleep(0.1)


async def besiege(mallory, someone, let_it_run, body=None):
    """Have 200 strangers call while a session is queued, starts, and is ready."""
    record = await mallory.submitted(someone.name)
    over, answers = asyncio.Event(), []
    crowd = [
        asyncio.ensure_future(storm(mallory, record["id"], over, answers, body))
        for _ in range(FLOOD)
    ]
    await mallory.until(lambda: len(answers) >= FLOOD, 60)
    assert not mallory.record(someone.name)["key_hash"]
    queued = len(answers)
    await let_it_run()
    began = time.monotonic()
    await asyncio.wait_for(ready(someone), 120)
    took = time.monotonic() - began
    await mallory.until(lambda: len(answers) >= queued + FLOOD, 60)
    over.set()
    await asyncio.gather(*crowd)
    print(f"{len(answers)} calls, {queued} while queued; ready {took:.1f} s after it could run")
    return record, answers, took


async def test_a_crowd_that_calls_before_the_job_gets_nothing_and_does_not_keep_it_out(
    mallory, alice
):
    await mallory.stop("negotiator-nb")
    try:
        await alice.click({"profile": "interactive"})
        log = len(mallory.hub_log())
        record, answers, _ = await besiege(mallory, alice, lambda: mallory.start("negotiator-nb"))
    finally:
        await mallory.start("negotiator-nb")
    assert {answer.status for answer in answers} <= {403, 409, 429}
    assert 429 in {answer.status for answer in answers}
    assert all(answer.refused for answer in answers)
    assert len({answer.text for answer in answers}) <= 3, "one text for each status"
    now = mallory.record("alice")
    assert (now["id"], now["job_id"], now["ready"]) == (record["id"], record["job_id"], True)
    assert await lives(alice)
    # The log tells of it, in lines that one can count.
    said = [line for line in mallory.hub_log()[log:].splitlines() if record["id"] in line]
    assert 0 < len(said) < 40, len(said)


async def test_without_the_ticket_a_crowd_does_not_even_get_a_look_at_slurm(
    testbed, mallory, alice
):
    ctl = testbed.hosts["ctl"]
    state = ["scontrol", "update", "partitionname=gpu"]

    async def up():
        ctl.run([*state, "state=up"])

    ctl.run([*state, "state=down"])
    try:
        await alice.click({"profile": "gpu"})
        body = {"ticket": secrets.token_urlsafe(32)}
        record, answers, _ = await besiege(mallory, alice, up, body)
    finally:
        await up()
    assert {answer.status for answer in answers} == {403}
    assert all(answer.refused for answer in answers)
    assert mallory.record("alice")["job_id"] == record["job_id"]
    assert await lives(alice)


# -- a copied mark ---------------------------------------------------------------------------------


def impostor(site, record):
    """Return what bob submits: the very lines of alice's job, which the queue shows, as his own."""
    code = bootstrap_code(f"{site.hub_url.rstrip('/')}/hub/api/{PREFIX}", record["id"], sha())
    return JobRequest(
        f"{record['hub_id']}/{record['id']}",
        Resources(cpus=1, memory_mib=256, walltime_s=300),
        Launcher(record["python"], code),
    )


def sha():
    return agent_source()[1]


@pytest.mark.parametrize("alices_own", [True, False])
async def test_a_restarted_hub_adopts_no_copy_of_a_mark(testbed, mallory, alice, alices_own):
    attacker = PoolTalk(testbed)
    token = await asyncio.to_thread(attacker.token, "bob")
    copy = ""
    await mallory.stop("negotiator-nb")
    try:
        await alice.click({"profile": "interactive"})
        record = await mallory.submitted("alice")
        await mallory.kill_hub()
        copy = await attacker.pool.submit(impostor(testbed, record), token=token)
        mallory.forget_job("alice")
        if not alices_own:
            testbed.hosts["ap"].run(["condor_rm", record["job_id"]])
        await mallory.start("negotiator-nb")
        await mallory.start("hub")
        if alices_own:
            found = await mallory.until(lambda: is_ready(mallory.record("alice")), 90)
            assert found["job_id"] == record["job_id"] != copy
            await settled(alice, ready=True)
            assert await lives(alice)
        else:
            await mallory.until(lambda: is_over(mallory.records("alice"), record), 90)
        # The copy's agent ran, showed its own job's key, and was told no.
        view = await attacker.pool.look(copy)
        assert view is None or view.owner == "bob"
        await mallory.until(lambda: exit_code(testbed, copy), 200)
        assert exit_code(testbed, copy) == "77"
        assert copy not in [item["job_id"] for item in mallory.records("alice")]
    finally:
        await mallory.start("negotiator-nb")
        await mallory.start("hub")
        if copy:
            await attacker.pool.cancel(copy, token=attacker.token("bob"))
        await attacker.pool.close()


def is_ready(record):
    return record if record.get("ready") else None


def is_over(records, record):
    now = [item for item in records if item["id"] == record["id"]]
    return not now or (now[0]["over"] and not now[0]["ready"])


def exit_code(testbed, job_id):
    for command in ("condor_history", "condor_q"):
        said = testbed.hosts["ap"].run([command, job_id, "-af", "ExitCode"]).stdout.strip()
        if said and said != "undefined":
            return said
    return None


async def test_a_restarted_hub_adopts_no_copy_of_a_comment_on_slurm(testbed, mallory, alice):
    ctl, attacker = testbed.hosts["ctl"], BrokerTalk(testbed)
    state = ["scontrol", "update", "partitionname=gpu"]
    copy = ""
    ctl.run([*state, "state=down"])
    try:
        await alice.click({"profile": "gpu"})
        record = await mallory.submitted("alice")
        await mallory.kill_hub()
        wish = impostor(testbed, record)
        guess = Launcher(record["python"], wish.launcher.code, secrets.token_urlsafe(32))
        body = {
            "script": script(guess),
            "mark": wish.mark,
            "partition": "gpu",
            "cpus": 1,
            "memory_mib": 256,
            "time_minutes": 5,
        }
        reply = await asyncio.to_thread(
            lambda: attacker.ask("POST", "/v1/jobs", attacker.token("bob"), body)
        )
        assert reply.status == 201, reply
        copy = reply.body["job_id"]
        mallory.forget_job("alice")
        ctl.run([*state, "state=up"])
        await mallory.start("hub")
        found = await mallory.until(lambda: is_ready(mallory.record("alice")), 90)
        assert found["job_id"] == record["job_id"] != copy
        await settled(alice, ready=True)
        assert await lives(alice)

        def ended():
            show = ctl.run(["scontrol", "show", "job", copy], check=False).stdout
            return re.search(r"ExitCode=(\d+):", show)[1] if "JobState=FAILED" in show else None

        assert await mallory.until(ended, 60) == "77"
    finally:
        ctl.run([*state, "state=up"])
        await mallory.start("hub")
        await asyncio.to_thread(
            lambda: attacker.ask("DELETE", f"/v1/jobs/{copy}", attacker.token("bob"))
        )


# -- at the hub's interface ------------------------------------------------------------------------


async def api_token(someone, **wish):
    status, answer = await someone.api("POST", f"users/{someone.name}/tokens", body=wish)
    assert status in (200, 201), answer
    return answer["token"], answer["id"]


async def test_whatever_others_say_to_the_handoff_is_refused_and_changes_nothing(
    testbed, mallory, alice, bob
):
    await alice.start("interactive")
    await alice.start("gpu", server="two")
    await bob.start("interactive")
    (own,), (named,), (bobs,) = [
        await alice.run(TOKEN),
        await alice.run(TOKEN, server="two"),
        await bob.run(TOKEN),
    ]
    first, second = mallory.record("alice"), mallory.record("alice", "two")
    expired, _ = await api_token(alice, expires_in=5)
    expires_at = time.monotonic() + 5
    revoked, number = await api_token(alice)
    assert (await alice.api("DELETE", f"users/alice/tokens/{number}"))[0] == 204
    personal, _ = await api_token(alice)
    bobs_own, _ = await api_token(bob)
    text = testbed.hosts["ctl"].run(["scontrol", "write", "batch_script", second["job_id"], "-"])
    ticket = re.search(r"ticket = '([\w-]+)'", text.stdout)[1]
    assert hashlib.sha256(ticket.encode()).hexdigest() == second["ticket_hash"]
    await asyncio.sleep(max(0, expires_at + 1 - time.monotonic()))

    strangers = {
        "no token": None,
        "nonsense": "nonsense",
        "another user's server": bobs,
        "another user": bobs_own,
        "another server of the owner": named,
        "expired": expired,
        "revoked": revoked,
        "the owner's own": personal,
    }
    tried = [
        (f"{what} with {who}", what, body, token, first, 403)
        for who, token in strangers.items()
        for what, body in [
            ("ready", {"port": 40001}),
            ("tokens", {}),
            ("event", {"kind": "ended", "reason": "x"}),
            ("event", {"kind": "evicting", "reason": "x", "seconds_left": 1}),
        ]
    ]
    key = {"key": new_key()[0]}
    tried += [
        ("bundle after ready", "bundle", key, None, first, 403),
        ("bundle after ready, with a token", "bundle", key, own, first, 403),
        ("a ticket that is none", "bundle", key | {"ticket": "x" * 43}, None, second, 403),
        ("the ticket replayed after ready", "bundle", key | {"ticket": ticket}, None, second, 403),
        ("the ticket for another session", "bundle", key | {"ticket": ticket}, None, first, 403),
        ("another server's token there", "tokens", {}, own, second, 403),
        ("another port after ready", "ready", {"port": 40001}, own, first, 403),
        ("a session that is not", "bundle", key, None, {"id": "0" * 32}, 410),
        ("a session's name that is none", "bundle", key, None, {"id": "../users"}, 404),
        ("other fields", "ready", {"port": 40001, "ip": "10.0.0.1"}, own, first, 400),
        ("batchspawner's field", "ready", {"port": 40001, "job_id": "1"}, own, first, 400),
        ("fields for tokens", "tokens", {"audience": "https://evil.example.org"}, own, first, 400),
        ("a privileged port", "ready", {"port": 22}, own, first, 400),
        ("another kind", "event", {"kind": "ready", "reason": ""}, own, first, 400),
        ("no JSON", "bundle", b"\xff\xfe{", None, first, 400),
        ("deep JSON", "bundle", b"[" * 60_000, None, first, 400),
        ("NaN", "ready", b'{"port": NaN}', own, first, 400),
        ("a field twice", "ready", b'{"port": 40001, "port": 40002}', own, first, 400),
        ("no such call", "stop", {}, own, first, 404),
    ]
    for name, what, body, token, record, status in tried:
        answer = await mallory.say(record["id"], what, body, token)
        assert answer.status == status, (name, answer)
        assert answer.refused, (name, answer)
    assert (mallory.record("alice"), mallory.record("alice", "two")) == (first, second)
    # The same from a node's shell, as the Unix user.
    done = testbed.hosts["ep1"].run(
        [
            *("curl", "-s", "-w", "%{http_code}", "-H", "Content-Type: application/json"),
            *("-d", json.dumps(key), f"{mallory.api}sessions/{first['id']}/bundle"),
        ],
        user="mallory",
    )
    assert done.stdout.endswith("403"), done.stdout
    assert await lives(alice)
    assert await lives(alice, "two")
    assert await lives(bob)


async def test_big_and_slow_bodies_are_refused_before_they_cost_anything(mallory, alice):
    await alice.start("interactive")
    record = mallory.record("alice")
    # The proxy hands on nothing of a request before the first of its body.
    big = head(record["id"], "Content-Length: 100000000", host=mallory.door[0]) + b"{"
    chunked = head(record["id"], "Transfer-Encoding: chunked", host=mallory.door[0])
    slow = head(record["id"], "Content-Length: 90", host=mallory.door[0]) + b"{"
    before = mallory.hub_memory()

    async def send(request, body=b"", most=0):
        return await talk(mallory.door, request, body, most, tls=mallory.tls, limit=60)

    megabyte = b"x" * 2**20
    chunk = b"%x\r\n%s\r\n" % (len(megabyte), megabyte)
    began = time.monotonic()
    answers = await asyncio.gather(
        *(send(big) for _ in range(5)),
        *(send(big, megabyte, 100_000_000) for _ in range(5)),
        *(send(chunked, chunk, 100_000_000) for _ in range(5)),
    )
    took, after = time.monotonic() - began, mallory.hub_memory()
    print(f"{took:.1f} s, {(after - before) / 1024:.0f} MiB", [sent for _, sent in answers])
    for answer, _ in answers[:5]:
        assert answer.startswith(b"HTTP/1.1 413 "), answer
    for answer, _ in answers[5:]:
        # Who goes on sending may not get to read the answer any more.
        assert not answer or re.match(rb"HTTP/1.1 (411|413) ", answer), answer
    assert any(answer.startswith(b"HTTP/1.1 413 ") for answer, _ in answers[5:10])
    assert any(answer.startswith(b"HTTP/1.1 411 ") for answer, _ in answers[10:])
    assert after - before < 20 * 1024
    began = time.monotonic()
    answer, _ = await send(slow)
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert 10 < time.monotonic() - began < 25
    assert mallory.record("alice") == record
    assert await lives(alice)
