"""The real broker, Slurm and IAM: who may do what, as whom, and where the key is."""

from __future__ import annotations

import json
import re
import secrets
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from testbed.mapfile import map_file
from tests.support.broker import SCOPES, BrokerTalk
from tests.support.iam import claims

pytestmark = pytest.mark.pool

JWT_KEY = "/etc/slurm/jwt_hs256.key"


@pytest.fixture(scope="module")
def talk(testbed):
    return BrokerTalk(testbed)


@pytest.fixture(scope="module")
def hub_id(testbed):
    return re.search(r"^hub_id:\s*([\w.-]+)", _site_file(testbed), re.MULTILINE)[1]


def _site_file(site):
    return (site.repository / "hub-config/site.yaml").read_text()


@pytest.fixture
def mark(hub_id):
    return f"{hub_id}/{secrets.token_urlsafe(12)}"


@pytest.fixture
def alice(talk):
    return talk.token("alice")


@pytest.fixture
def running(talk, mark, alice):
    """A job of alice's that runs until the test ends."""
    reply = talk.ask("POST", "/v1/jobs", alice, talk.wish("exec sleep 300", mark=mark))
    assert reply.status == 201, reply
    job_id = reply.body["job_id"]
    talk.until(job_id, lambda job: job["state"] == ["RUNNING"], token=lambda: alice)
    yield job_id
    talk.ask("DELETE", f"/v1/jobs/{job_id}", talk.token("alice"))


def slurmctld_answers(site):
    done = site.hosts["ctl"].run(["timeout", "5", "squeue", "--noheader"], check=False)
    return done.returncode == 0


def job_count(site):
    return len(site.hosts["ctl"].run(["squeue", "--noheader", "--states=all"]).stdout.split("\n"))


# -- what works ------------------------------------------------------------------------------------


def test_a_submit_runs_as_the_user_on_a_gpu_with_a_clean_environment(testbed, talk, mark, alice):
    script = (
        'umask 077; { id -un; hostname; env; ls -l "$0"; } > "$HOME/broker-test"; exec sleep 60'
    )
    wish = talk.wish(script, mark=mark, gpus=1)
    reply = talk.ask("POST", "/v1/jobs", alice, wish)
    assert reply.status == 201, reply
    job_id = reply.body["job_id"]
    job = talk.until(job_id, lambda job: job["state"] == ["RUNNING"], token=lambda: alice)
    assert (job["user"], job["comment"], job["gpus"]) == ("alice", mark, 1)
    assert re.fullmatch(rf"gpu[12]\.{re.escape(testbed.domain)}", job["node"])
    host = testbed.hosts[job["node"].partition(".")[0]]
    time.sleep(0.5)
    said = host.run(["cat", "/home/alice/broker-test"], user="alice").stdout
    assert said.startswith("alice\n")
    assert re.search(r"^CUDA_VISIBLE_DEVICES=[01]$", said, re.MULTILINE)
    assert "HOME=/home/alice\n" in said
    assert "JWT" not in said
    assert "TOKEN" not in said
    # The watcher sees it in one call, the owner alone can end it.
    hub = mark.partition("/")[0]
    seen = talk.ask("GET", f"/v1/jobs?hub={hub}", talk.watcher())
    assert job_id in [item["job_id"] for item in seen.body["jobs"]]
    assert talk.ask("DELETE", f"/v1/jobs/{job_id}", talk.token("alice")).status == 204
    talk.until(job_id, lambda job: job["state"] == ["CANCELLED"], token=lambda: talk.token("alice"))


def test_two_users_see_their_own_jobs_only(talk, running, hub_id):
    mine = talk.ask("GET", f"/v1/jobs?hub={hub_id}", talk.token("alice")).body["jobs"]
    theirs = talk.ask("GET", f"/v1/jobs?hub={hub_id}", talk.token("bob")).body["jobs"]
    assert running in [job["job_id"] for job in mine]
    assert running not in [job["job_id"] for job in theirs]


def test_capacity_shows_partitions_and_gpus(talk):
    pools = talk.ask("GET", "/v1/capacity", talk.watcher()).body["partitions"]
    assert set(pools) == {"gpu", "cpu"}
    assert pools["gpu"]["gpus_total"] == 4
    assert pools["gpu"]["cpus_total"] == 16
    room = {"cpus": 8, "memory_mib": 16384, "gpus": 2, "gpu_type": None}
    assert pools["gpu"]["rooms"] == [{"count": 2} | room]
    assert (pools["gpu"]["state"], pools["gpu"]["max_minutes"]) == ("UP", 1440)


def test_capacity_shows_what_a_job_leaves_and_when_it_must_have_ended(talk, running):
    job = talk.ask("GET", f"/v1/jobs/{running}", talk.token("alice")).body
    end = time.monotonic() + 15
    while True:  # the broker's listings may be of a few seconds ago
        pool = talk.ask("GET", "/v1/capacity", talk.watcher()).body["partitions"]["gpu"]
        left = [(room["cpus"], room["memory_mib"]) for room in pool["free_rooms"]]
        if (7, 16384 - 256) in left:
            break
        assert time.monotonic() < end, left
        time.sleep(0.5)
    assert pool["next_end_at"] is None or pool["next_end_at"] <= job["end"]


def test_a_job_gets_sigterm_and_time_to_leave(testbed, talk, mark, alice):
    script = (
        "rm -f /home/alice/left; trap 'sleep 1; date > /home/alice/left; exit 0' TERM; "
        "touch /home/alice/trapped; while :; do sleep 0.1; done"
    )
    job_id = talk.ask("POST", "/v1/jobs", alice, talk.wish(script, mark=mark)).body["job_id"]
    job = talk.until(job_id, lambda job: job["state"] == ["RUNNING"], token=lambda: alice)
    time.sleep(1)
    assert talk.ask("DELETE", f"/v1/jobs/{job_id}", alice).status == 204
    now = talk.ask("GET", f"/v1/jobs/{job_id}", alice).body["state"]
    assert set(now) <= {"CANCELLED", "COMPLETING"}
    talk.until(job_id, lambda job: job["state"] == ["CANCELLED"], token=lambda: alice)
    host = testbed.hosts[job["node"].partition(".")[0]]
    assert host.run(["test", "-s", "/home/alice/left"], check=False).returncode == 0


# -- who is refused --------------------------------------------------------------------------------


def test_anothers_job_is_neither_shown_nor_cancelled_and_slurmctld_goes_on(testbed, talk, running):
    bob = talk.token("bob")
    for method in ("GET", "DELETE"):
        reply = talk.ask(method, f"/v1/jobs/{running}", bob)
        assert (reply.status, reply.error) == (403, f"Job {running} is not yours.")
    assert slurmctld_answers(testbed)
    job = talk.ask("GET", f"/v1/jobs/{running}", talk.token("alice"))
    assert job.body["state"] == ["RUNNING"]


@pytest.mark.parametrize(
    "change",
    [
        {"user": "bob"},
        {"user_id": 2002},
        {"sun": "bob"},
        {"account_name": "bob"},
        {"environment": ["USER=bob"]},
        {"name": "other"},
    ],
)
def test_there_is_no_field_for_another_account(talk, mark, alice, change):
    reply = talk.ask("POST", "/v1/jobs", alice, talk.wish("true", mark=mark) | change)
    assert reply.status == 400
    assert "There is no field" in reply.error


@pytest.mark.parametrize(
    "change",
    [{"partition": "other"}, {"time_minutes": 100_000}, {"cpus": 99}, {"gpus": 3}, {"qos": "x"}],
)
def test_the_sites_limits_hold_whatever_the_hub_asks(talk, mark, alice, change):
    reply = talk.ask("POST", "/v1/jobs", alice, talk.wish("true", mark=mark, **change))
    assert reply.status == 400
    assert "allowed here is" in reply.error


def test_an_expired_token_is_refused(talk, mark):
    token = talk.token("alice", client_id="roost-test-short")
    good = talk.ask("GET", "/v1/capacity", token)
    assert good.status == 200
    left = claims(token)["exp"] - time.time()
    time.sleep(max(0.0, left) + 11)  # the verifier's leeway is 10 s
    reply = talk.ask("POST", "/v1/jobs", token, talk.wish("true", mark=mark))
    assert (reply.status, reply.error) == (401, "The token has expired.")
    assert 'error="invalid_token"' in reply.headers


def _forged(alice, **change):
    """The same claims, signed by somebody else, under the issuer's own key id."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    header = jwt.get_unverified_header(alice)
    return jwt.encode(
        claims(alice) | change, key, algorithm="RS256", headers={"kid": header["kid"]}
    )


def test_a_foreign_signature_is_refused(talk, mark, alice):
    reply = talk.ask("POST", "/v1/jobs", _forged(alice), talk.wish("true", mark=mark))
    assert reply.status == 401
    assert "signature is wrong" in reply.error or "does not have" in reply.error


def test_another_issuer_an_unsigned_token_and_an_hmac_one_are_refused(talk, mark, alice):
    wish = talk.wish("true", mark=mark)
    for token in (
        _forged(alice, iss="https://evil.example.org"),
        jwt.encode(claims(alice), None, algorithm="none"),
        jwt.encode(claims(alice), "k" * 32, algorithm="HS256"),
        "abc",
    ):
        assert talk.ask("POST", "/v1/jobs", token, wish).status == 401
    assert talk.ask("POST", "/v1/jobs", None, wish).status == 401


def test_a_token_for_another_audience_is_refused(testbed, talk, mark):
    token = talk.token("alice", audience=testbed.ap_audience)
    reply = talk.ask("POST", "/v1/jobs", token, talk.wish("true", mark=mark))
    assert reply.status == 401
    assert "not for" in reply.error


def test_an_id_token_is_no_access_token(testbed, talk, mark):
    client = talk.client("roost-test")
    password = next(p.password for p in testbed.people if p.name == "alice")
    id_token = talk.iam.login(client, "alice", password).id_token
    reply = talk.ask("POST", "/v1/jobs", id_token, talk.wish("true", mark=mark))
    assert reply.status == 401


@pytest.mark.parametrize(
    ("scopes", "method", "missing"),
    [
        (["compute.read"], "POST", "compute.create"),
        (["compute.create", "compute.cancel"], "GET", "compute.read"),
        (["compute.read", "compute.create"], "DELETE", "compute.cancel"),
    ],
)
def test_each_act_needs_its_own_scope(talk, mark, running, scopes, method, missing):
    token = talk.token("alice", scopes=scopes)
    path = "/v1/jobs" if method == "POST" else f"/v1/jobs/{running}"
    body = talk.wish("true", mark=mark) if method == "POST" else None
    reply = talk.ask(method, path, token, body)
    assert (reply.status, reply.error) == (
        403,
        f"This needs an access token with the scope {missing}.",
    )
    assert f'scope="{missing}"' in reply.headers


def test_the_watcher_reads_its_own_hubs_jobs_and_does_nothing_else(testbed, talk, mark, running):
    token = talk.watcher()
    before = job_count(testbed)
    wish = talk.wish("true", mark=mark)
    assert talk.ask("POST", "/v1/jobs", token, wish).status == 403
    assert talk.ask("DELETE", f"/v1/jobs/{running}", token).status == 403
    assert talk.ask("GET", "/v1/jobs?hub=another-hub", token).status == 403
    assert talk.ask("GET", f"/v1/jobs/{running}", token).status == 200
    assert job_count(testbed) == before


def test_a_watcher_with_every_scope_still_only_reads(talk, mark, running):
    # Were the issuer to give the hub's client more than it needs.
    token = talk.watcher(scopes=SCOPES)
    if "compute.create" not in claims(token)["scope"].split():
        pytest.skip("the issuer gives the hub's client compute.read only")
    assert talk.ask("POST", "/v1/jobs", token, talk.wish("true", mark=mark)).status == 403
    reply = talk.ask("DELETE", f"/v1/jobs/{running}", token)
    assert (reply.status, reply.error) == (403, "This identity may only read.")


@pytest.fixture
def mapped_to(testbed):
    """Maps alice to another account for one test."""
    host, path = testbed.hosts["ctl"], "/etc/roost/mapfile"
    good = map_file(testbed.people, testbed.issuer, testbed.domain)

    def change(account):
        host.write(path, re.sub(r" alice@.*", f" {account}", good))

    yield change
    host.write(path, good)


@pytest.mark.parametrize("account", ["root", "slurm", "daemon", "roost-broker", "nosuchuser"])
def test_root_system_and_unknown_accounts_are_never_acted_for(
    testbed, talk, mark, alice, mapped_to, account
):
    before = job_count(testbed)
    mapped_to(account)
    reply = talk.ask("POST", "/v1/jobs", alice, talk.wish("id", mark=mark))
    assert reply.status == 403, reply
    assert job_count(testbed) == before


def test_an_unmapped_person_is_refused(testbed, talk, mark, alice):
    host, path = testbed.hosts["ctl"], "/etc/roost/mapfile"
    good = host.read(path)
    host.write(
        path, "".join(line for line in good.splitlines(keepends=True) if "alice" not in line)
    )
    try:
        reply = talk.ask("POST", "/v1/jobs", alice, talk.wish("true", mark=mark))
    finally:
        host.write(path, good)
    assert (reply.status, reply.error) == (
        403,
        "Your identity is not mapped to an account of this cluster.",
    )


# -- the key, and what others on the hosts can do --------------------------------------------------


def test_the_key_is_on_one_host_and_for_slurmctld_and_the_broker_only(testbed):
    controller = testbed.hosts["ctl"]
    shown = controller.run(["stat", "--format=%U:%G %a", JWT_KEY]).stdout.strip()
    assert shown == "slurm:roost-broker 640"
    key = controller.path(JWT_KEY).read_bytes()
    assert len(key) >= 32
    for user, able in [
        ("roost-broker", True),
        ("slurm", True),
        ("slurmrest", False),
        ("roost-reader", False),
        ("alice", False),
        ("mallory", False),
    ]:
        done = controller.run(["test", "-r", JWT_KEY], user=user, check=False)
        assert (done.returncode == 0) is able, user
    for name, host in testbed.hosts.items():
        if name != "ctl" and host.pid() is not None:
            assert not host.path(JWT_KEY).exists()


def test_slurmrestd_is_unprivileged_and_on_the_loopback_only(testbed):
    controller = testbed.hosts["ctl"]
    pid = controller.service_pid("slurmrestd")
    status = controller.read(f"/proc/{pid}/status")
    uid = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)[1]
    assert controller.run(["id", "-un", uid]).stdout.strip() == "slurmrest"
    refused = testbed.hosts["hub"].run(
        ["curl", "-s", "-m", "5", f"http://ctl.{testbed.domain}:6820/openapi/v3"], check=False
    )
    assert refused.returncode == 7  # connection refused


def test_mallory_on_the_controller_gets_nothing_from_slurmrestd_or_the_broker(testbed):
    controller = testbed.hosts["ctl"]
    forged = jwt.encode(
        {"sun": "alice", "iat": int(time.time()), "exp": int(time.time()) + 60},
        secrets.token_bytes(32),
        algorithm="HS256",
    )
    config = (
        'url = "http://127.0.0.1:6820/slurm/v0.0.42/jobs/"\nsilent\n'
        f'header = "X-SLURM-USER-NAME: alice"\nheader = "X-SLURM-USER-TOKEN: {forged}"\n'
    )
    said = controller.run(["curl", "--config", "-"], user="mallory", input=config).stdout
    assert not json.loads(said).get("jobs")
    pid = controller.service_pid("slurm-broker")
    for name in ("environ", "mem", "fd/0"):
        path = f"/proc/{pid}/{name}"
        assert controller.run(["cat", path], user="mallory", check=False).returncode


def test_no_token_and_no_key_is_in_the_logs_and_each_act_is(testbed, talk, mark, alice):
    reply = talk.ask("POST", "/v1/jobs", alice, talk.wish("true", mark=mark))
    controller = testbed.hosts["ctl"]
    logs = b"".join(path.read_bytes() for path in controller.logs.glob("*.log"))
    logs += controller.path("/var/log/slurm/slurmctld.log").read_bytes()
    assert alice.encode() not in logs
    assert alice.rpartition(".")[2].encode() not in logs
    assert controller.path(JWT_KEY).read_bytes() not in logs
    assert not re.search(rb"eyJ[\w-]{10,}\.eyJ", logs), "something like a token is in a log"
    subject = claims(alice)["sub"]
    line = f"account=alice subject='{subject}' action=submit job={reply.body['job_id']}"
    assert line.encode() in logs
