"""The broker's HTTP side and the hub's client of it, talking to each other over a real socket.

Slurm and the token verifier are doubles here; the real ones are in tests/pool.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
from roost_authenticator.errors import NotMapped
from roost_shepherd.errors import NeedsLogin, ProviderUnreachable, TokenInvalid
from roost_shepherd.pace import Pace
from roost_spawner.clusters.base import (
    JobRequest,
    JobState,
    Judgement,
    Launcher,
    Resources,
    Room,
)
from roost_spawner.clusters.slurm import submit
from roost_spawner.clusters.slurm.broker import config as settings
from roost_spawner.clusters.slurm.broker.accounts import Accounts
from roost_spawner.clusters.slurm.broker.app import settled
from roost_spawner.clusters.slurm.broker.errors import (
    BadRequest,
    JobNotFound,
    NoSuchAccount,
    SchedulerFailed,
    Unavailable,
)
from roost_spawner.clusters.slurm.broker.handlers import MAX_BODY, application
from roost_spawner.clusters.slurm.broker.service import Broker
from roost_spawner.clusters.slurm.client import SlurmBroker
from roost_spawner.errors import ClusterRefused, ClusterUnreachable, NotAuthorized, NotReached
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

pytestmark = pytest.mark.unit

ISSUER = "https://iam.example.org"
PEOPLE = {"alice": 2001, "bob": 2002, "root": 0}
ALL = "compute.read compute.create compute.cancel"


class Verifier:
    """Takes ``subject:scopes`` for a token."""

    async def verify(self, token, *, audience):
        if token == "away":
            raise ProviderUnreachable("The issuer does not answer.")
        if token == "bad":
            raise TokenInvalid('The token is for "else" \u20ac.')
        subject, _, scopes = token.partition(":")
        return {"iss": ISSUER, "sub": subject, "scope": scopes.replace("+", " ")}


class Slurm:
    """Remembers jobs, and who cancelled what."""

    def __init__(self):
        self.all = {}
        self.cancelled = []
        self.asked_as = []
        self.away = False
        self.refuses = False
        self.refusal = BadRequest("The partition takes no jobs at the moment.")
        self.unreadable = False
        self.wait = None

    def add(self, job_id, user, **change):
        self.all[job_id] = {
            "job_id": int(job_id),
            "name": "roost",
            "comment": "hub/abcdefgh",
            "user_name": user,
            "user_id": PEOPLE[user],
            "job_state": ["RUNNING"],
            "batch_host": "gpu1",
            "partition": "gpu",
        } | change

    def _ask(self, account):
        self.asked_as.append(account)
        if self.away:
            raise Unavailable("Slurm does not answer at the moment.")

    async def submit(self, account, body):
        self._ask(account)
        if self.wait is not None:
            await self.wait()
        if self.refuses:
            raise self.refusal
        self.body = body
        self.add("7", account, comment=body["job"]["comment"])
        return "7"

    async def jobs(self, account):
        self._ask(account)
        if self.unreadable:
            raise SchedulerFailed("Slurm's answer could not be read.")
        return list(self.all.values())

    async def job(self, account, job_id):
        self._ask(account)
        if job_id not in self.all:
            raise JobNotFound("Slurm has no such job.")
        return self.all[job_id]

    async def cancel(self, account, job_id):
        assert self.all[job_id]["user_name"] == account, "this hangs slurmctld 24.11.5"
        self.cancelled.append(job_id)

    async def nodes(self, account):
        self._ask(account)
        node = {
            "cpus": 8,
            "alloc_idle_cpus": 6,
            "gres": "gpu:2",
            "gres_used": "gpu:1(IDX:0)",
            "real_memory": 1000,
            "partitions": ["gpu", "hidden"],
        }
        return [node | {"state": ["MIXED"]}, node | {"state": ["IDLE", "DRAIN"]}]

    async def partitions(self, account):
        self._ask(account)
        limit = {"time": {"set": True, "infinite": False, "number": 600}}
        return [{"name": "gpu", "partition": {"state": ["UP"]}, "maximums": limit}]


def config():
    return settings.Config(
        issuer=ISSUER,
        audience="https://ctl.example.org",
        map_file="/m",
        tls_certificate="/c",
        tls_key="/k",
        slurm=settings.Slurm(jwt_key="/j", reader="reader", node_domain="example.org"),
        limits=settings.Limits(
            partitions=("gpu", "cpu"), minutes=600, cpus=4, memory_mib=4096, gpus=2
        ),
        watchers=(settings.Watcher("watcher", ("hub",)),),
    )


def mapped(issuer, subject):
    if subject not in PEOPLE:
        raise NotMapped("nobody")
    return subject


def passwd(name):
    return SimpleNamespace(
        pw_name=name, pw_uid=PEOPLE[name], pw_dir=f"/home/{name}", pw_shell="/bin/sh"
    )


@pytest.fixture
def slurm():
    return Slurm()


@pytest.fixture
def broker(slurm):
    return Broker(config(), slurm, Accounts(mapped, lookup=passwd), Verifier())


@pytest.fixture
def app(broker):
    return application(broker)


@pytest.fixture
async def url(app):
    server = HTTPServer(app, max_body_size=MAX_BODY)
    socket, port = bind_unused_port()
    server.add_sockets([socket])
    yield f"http://127.0.0.1:{port}"
    server.stop()
    await server.close_all_connections()


@pytest.fixture
async def client(url):
    async def watch_token():
        return "watcher:compute.read"

    broker = SlurmBroker(
        name="maxwell", hub_id="hub", broker=url + "/", audience="a", watch_token=watch_token
    )
    yield broker
    await broker.close()


async def ask(url, method, path, token=None, body=None):
    http = AsyncHTTPClient(force_instance=True)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    content = body if body is None or isinstance(body, str) else json.dumps(body)
    request = HTTPRequest(url + path, method=method, headers=headers, body=content)
    try:
        return await http.fetch(request, raise_error=False)
    finally:
        http.close()


def wish(**resources):
    wanted = {"cpus": 1, "memory_mib": 1024, "walltime_s": 60, "partition": "gpu"} | resources
    return JobRequest(
        mark="hub/abcdefgh",
        resources=Resources(**wanted),
        launcher=Launcher(python="/usr/bin/python3", code="pass", ticket="TICKET"),
    )


# -- what works ------------------------------------------------------------------------------------


async def test_a_session_is_submitted_watched_looked_at_and_cancelled(client, slurm):
    job_id = await client.submit(wish(gpus=1), token=f"alice:{ALL}")
    assert (job_id, slurm.body["job"]["tres_per_node"]) == ("7", "gres/gpu:1")
    view = (await client.watch())["7"]
    assert (view.state, view.owner, view.mark) == (JobState.RUNNING, "alice", "hub/abcdefgh")
    assert view.node == "gpu1.example.org"
    assert await client.look("7") == view
    assert await client.explain("7") == []
    await client.cancel("7", token=f"alice:{ALL}")
    assert slurm.cancelled == ["7"]
    # Counting sessions costs a query once in a while, not at each submit.
    assert slurm.asked_as == ["reader", "alice", "reader", "reader", "reader", "alice"]
    await client.submit(wish(), token=f"alice:{ALL}")
    assert slurm.asked_as[6:] == ["alice"]


async def test_nobody_has_more_sessions_than_the_site_allows(client, slurm, broker):
    object.__setattr__(broker._config.limits, "sessions", 2)
    for number in ("1", "2"):
        slurm.add(number, "alice")
    slurm.add("3", "bob")
    with pytest.raises(NotAuthorized, match="You have 2 notebooks on this cluster; 2 are allowed"):
        await client.submit(wish(), token=f"alice:{ALL}")
    await client.submit(wish(), token=f"bob:{ALL}")
    with pytest.raises(NotAuthorized, match="2 are allowed"):
        await client.submit(wish(), token=f"bob:{ALL}")


async def test_submits_that_take_long_count_for_those_that_come_after(client, slurm, broker):
    object.__setattr__(broker._config.limits, "sessions", 2)
    go_on = asyncio.Event()
    slurm.wait = go_on.wait
    submits = [asyncio.ensure_future(client.submit(wish(), token=f"alice:{ALL}")) for _ in "1234"]
    done, _ = await asyncio.wait(submits, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 2:
        done, _ = await asyncio.wait(submits, timeout=0.1)
    go_on.set()
    answers = await asyncio.gather(*submits, return_exceptions=True)
    assert [type(answer) for answer in answers if answer != "7"] == [NotAuthorized] * 2


async def test_who_submits_too_often_is_told_when_to_come_back_and_others_go_on(
    client, url, slurm, broker
):
    now = 1000.0
    broker._pace = Pace(2, 30.0, clock=lambda: now)
    for _ in "12":
        await client.submit(wish(), token=f"alice:{ALL}")
    sent = len(slurm.asked_as)
    with pytest.raises(ClusterRefused, match=r"too often. Please try again in 30 s\."):
        await client.submit(wish(), token=f"alice:{ALL}")
    answer = await ask(url, "POST", "/v1/jobs", f"alice:{ALL.replace(' ', '+')}", {})
    assert (answer.code, answer.headers["Retry-After"]) == (429, "30")
    assert len(slurm.asked_as) == sent
    await client.submit(wish(), token=f"bob:{ALL}")
    await client.cancel("7", token=f"bob:{ALL}")
    now += 30
    await client.submit(wish(), token=f"alice:{ALL}")


async def test_a_listing_that_cannot_be_read_keeps_nobody_from_a_submit(client, slurm, broker):
    object.__setattr__(broker._config.limits, "sessions", 1)
    slurm.unreadable = True
    assert await client.submit(wish(), token=f"alice:{ALL}") == "7"
    with pytest.raises(NotAuthorized, match="1 is allowed"):  # the broker's own count holds
        await client.submit(wish(), token=f"alice:{ALL}")


async def test_who_has_no_account_is_told_so_and_not_that_they_asked_for_one(client, slurm):
    slurm.refuses, slurm.refusal = True, NoSuchAccount("Slurm does not know the account asked for.")
    with pytest.raises(ClusterRefused, match="Slurm has no account to charge your jobs to"):
        await client.submit(wish(), token=f"alice:{ALL}")


async def test_what_ended_or_was_refused_does_not_count(client, slurm, broker):
    object.__setattr__(broker._config.limits, "sessions", 1)
    slurm.add("1", "alice")
    with pytest.raises(NotAuthorized, match="You have 1 notebook on this cluster; 1 is allowed"):
        await client.submit(wish(), token=f"alice:{ALL}")
    # No listing knows it yet: one is asked for before anybody is refused.
    slurm.all["1"]["job_state"] = ["COMPLETED"]
    broker._listing.forget()
    slurm.refuses = True
    with pytest.raises(ClusterRefused, match="takes no jobs"):
        await client.submit(wish(), token=f"alice:{ALL}")
    slurm.refuses = False
    assert await client.submit(wish(), token=f"alice:{ALL}") == "7"


async def test_a_watch_after_the_first_brings_what_is_new(client, slurm):
    await client.submit(wish(), token=f"alice:{ALL}")
    assert set(await client.watch()) == {"7"}
    slurm.add("8", "bob")
    await client.submit(wish(), token=f"alice:{ALL}")
    assert set(await client.watch()) >= {"7", "8"}


async def test_a_broker_that_is_not_there_has_taken_nothing():
    socket, port = bind_unused_port()
    socket.close()

    async def token():
        return "t"

    away = SlurmBroker(
        name="gpus",
        hub_id="hub",
        broker=f"http://127.0.0.1:{port}",
        audience="a",
        watch_token=token,
    )
    with pytest.raises(NotReached):
        await away.submit(wish(), token="t")
    await away.close()


async def test_a_job_that_is_gone_is_none_and_its_cancel_no_error(client):
    assert await client.look("9") is None
    assert await client.explain("9") == []
    await client.cancel("9", token=f"alice:{ALL}")


async def test_an_ended_job_is_not_cancelled_again(client, slurm):
    slurm.add("5", "alice", job_state=["CANCELLED", "COMPLETING"])
    await client.cancel("5", token=f"alice:{ALL}")
    assert slurm.cancelled == []


async def test_capacity_counts_only_usable_nodes_and_only_offered_partitions(client):
    pools = (await client.capacity()).pools
    assert set(pools) == {"gpu", "cpu"}
    assert (pools["gpu"].total, pools["gpu"].free) == (16, 6)
    assert (pools["gpu"].gpus_total, pools["gpu"].gpus_free) == (4, 1)
    assert pools["gpu"].rooms == (Room(1, 8, 1000, 2),)
    assert pools["gpu"].free_rooms == (Room(1, 6, 1000, 1),)
    assert (pools["gpu"].max_walltime_s, pools["gpu"].problem) == (36000, "")
    assert (pools["cpu"].total, pools["cpu"].problem) == (0, "Slurm has no partition cpu.")


async def test_what_a_submit_would_meet_is_told_without_one(client, slurm):
    good = Resources(1, 512, 3600, partition="gpu")
    assert await client.judge(good, {}) == Judgement()
    assert await client.judge(good, {}, token=f"alice:{ALL}") == Judgement()
    (said,) = (await client.judge(replace(good, partition="night"), {})).problems
    assert "allowed here is one of gpu, cpu" in said
    (said,) = (await client.judge(replace(good, walltime_s=99 * 3600), {})).problems
    assert "from 1 to 600 ([limits] of the broker)" in said
    assert slurm.all == {}


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("alice:compute.read", "compute.create"),
        (f"stranger:{ALL}", "not mapped"),
        ("bad", "The token is for"),
    ],
)
async def test_who_could_not_submit_is_told_so_when_they_check(client, token, words):
    with pytest.raises(NotAuthorized, match=words):
        await client.judge(Resources(1, 512, 3600, partition="gpu"), {}, token=token)


async def test_watching_shows_this_hubs_notebooks_only(client, slurm):
    slurm.add("1", "alice")
    slurm.add("2", "alice", comment="hub2/abcdefgh")
    slurm.add("3", "bob", comment="a simulation")
    slurm.add("4", "bob", comment="")
    assert set(await client.watch()) == {"1"}


async def test_people_see_their_own_jobs_out_of_the_listing_for_all(url, slurm):
    slurm.add("1", "alice")
    slurm.add("2", "bob")
    for _ in range(5):
        reply = await ask(url, "GET", "/v1/jobs?hub=hub", "bob:compute.read")
        assert [job["job_id"] for job in json.loads(reply.body)["jobs"]] == ["2"]
    assert slurm.asked_as == ["reader"]


async def test_all_who_ask_for_the_capacity_cost_one_query_for_each_kind(url, slurm):
    people = ("alice:compute.read", "bob:compute.read", "watcher:compute.read")
    for token in people * 3:
        assert (await ask(url, "GET", "/v1/capacity", token)).code == 200
    assert slurm.asked_as == ["reader"] * 3  # nodes, partitions, jobs


async def test_health_needs_no_token_and_asks_slurm_nothing(url, slurm):
    slurm.away = True
    assert (await ask(url, "GET", "/v1/health")).code == 200


async def test_a_broker_that_is_told_to_go_answers_first(url, slurm, app):
    came, going = asyncio.Event(), asyncio.Event()

    async def wait():
        came.set()
        await going.wait()

    slurm.wait = wait
    answer = asyncio.ensure_future(
        ask(url, "POST", "/v1/jobs", f"alice:{ALL}", submit.payload(wish()))
    )
    await came.wait()
    leaving = asyncio.ensure_future(settled(app, 5.0))
    await asyncio.sleep(0.1)
    assert not leaving.done()
    going.set()
    assert (await answer).code == 201
    await asyncio.wait_for(leaving, 1)


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "token", "status", "words"),
    [
        ("GET", "/v1/jobs?hub=hub", None, 401, "Show an access token"),
        ("GET", "/v1/jobs?hub=hub", "bad", 401, "The token is for"),
        ("GET", "/v1/jobs?hub=hub", "away", 503, "does not answer"),
        ("GET", "/v1/jobs?hub=hub", "alice:compute.create", 403, "the scope compute.read"),
        ("GET", "/v1/jobs", "alice:compute.read", 400, "hub_id"),
        ("GET", "/v1/jobs?hub=a/b", "alice:compute.read", 400, "hub_id"),
        ("GET", "/v1/jobs?hub=other", "watcher:compute.read", 403, "may not watch"),
        ("GET", "/v1/jobs?hub=hub", "stranger:compute.read", 403, "not mapped"),
        ("GET", "/v1/jobs?hub=hub", "root:compute.read", 403, "nobody may use"),
        ("GET", "/v1/jobs/1", "bob:compute.read", 403, "Job 1 is not yours"),
        ("GET", "/v1/jobs/3", "watcher:compute.read", 404, "is no notebook"),
        ("GET", "/v1/jobs/4", "watcher:compute.read", 403, "not yours"),
        ("GET", "/v1/jobs/x", "alice:compute.read", 400, "must be a number"),
        ("DELETE", "/v1/jobs/1", f"bob:{ALL}", 403, "Job 1 is not yours"),
        ("DELETE", "/v1/jobs/1", "alice:compute.create", 403, "the scope compute.cancel"),
        ("DELETE", "/v1/jobs/1", f"watcher:{ALL}", 403, "may only read"),
        ("DELETE", "/v1/jobs/3", f"alice:{ALL}", 404, "is no notebook"),
        ("GET", "/v1/capacity", "stranger:compute.read", 403, "not mapped"),
        ("GET", "/v2/jobs", f"alice:{ALL}", 404, "does not take GET"),
        ("PUT", "/v1/jobs", f"alice:{ALL}", 405, "does not take PUT"),
    ],
)
async def test_refusals_are_sentences_and_do_nothing(
    url, slurm, method, path, token, status, words
):
    slurm.add("1", "alice")
    slurm.add("3", "alice", comment="a simulation")
    slurm.add("4", "alice", comment="other/abcdefgh")
    body = "" if method == "PUT" else None
    reply = await ask(url, method, path, token, body)
    assert reply.code == status
    assert words in json.loads(reply.body)["error"]
    assert slurm.cancelled == []


@pytest.mark.parametrize(
    ("token", "status"),
    [("alice:compute.read", 403), (f"watcher:{ALL}", 403), (f"root:{ALL}", 403)],
)
async def test_a_submit_without_the_right_to_it_never_reaches_slurm(url, slurm, token, status):
    assert (await ask(url, "POST", "/v1/jobs", token, {})).code == status
    assert slurm.asked_as == []


@pytest.mark.parametrize("body", ["", "{", "[]", "null", "[" * 30000])
async def test_a_body_that_is_no_object_is_refused(url, body):
    assert (await ask(url, "POST", "/v1/jobs", f"alice:{ALL}", body)).code == 400


async def test_a_large_body_is_not_read(url, slurm):
    reply = await ask(url, "POST", "/v1/jobs", f"alice:{ALL}", "x" * (MAX_BODY + 1))
    assert reply.code in (400, 413)
    assert slurm.asked_as == []


async def test_challenges_say_what_would_be_taken(url):
    nothing = await ask(url, "GET", "/v1/capacity")
    assert nothing.headers["WWW-Authenticate"] == 'Bearer realm="roost"'
    bad = (await ask(url, "GET", "/v1/capacity", "bad")).headers["WWW-Authenticate"]
    assert bad == (
        'Bearer realm="roost", error="invalid_token", '
        "error_description=\"The token is for 'else' '.\""
    )
    scope = (await ask(url, "GET", "/v1/capacity", "alice:")).headers["WWW-Authenticate"]
    assert scope.endswith('scope="compute.read"')


async def test_no_token_is_logged_and_each_act_is(url, slurm, caplog):
    caplog.set_level(logging.DEBUG)
    slurm.add("1", "alice")
    await ask(url, "DELETE", "/v1/jobs/1", "alice:compute.cancel+SECRET")
    await ask(url, "DELETE", "/v1/jobs/1", "bob:compute.cancel+SECRET")
    said = [record.getMessage() for record in caplog.records if "audit" in record.name]
    assert said == [
        "account=alice subject='alice' action=cancel job=1 outcome=done",
        "account=bob subject='bob' action=cancel job=1 outcome=403 Job 1 is not yours.",
    ]
    assert "SECRET" not in caplog.text


# -- how the client takes it -----------------------------------------------------------------------


async def test_the_client_tells_refused_from_unreachable(client, slurm):
    with pytest.raises(ClusterRefused, match="from 1 to 4"):
        await client.submit(wish(cpus=99), token=f"alice:{ALL}")
    with pytest.raises(NotAuthorized, match=r"compute\.create"):
        await client.submit(wish(), token="alice:compute.read")
    slurm.add("1", "alice")
    with pytest.raises(NotAuthorized, match="not yours"):
        await client.cancel("1", token=f"bob:{ALL}")
    slurm.away = True
    for call in (client.watch(), client.look("1"), client.capacity()):
        with pytest.raises(ClusterUnreachable, match="does not answer") as caught:
            await call
        assert caught.value.retryable


async def test_nobody_there_is_unreachable_and_shows_no_token():
    async def watch_token():
        return "SECRET"

    broker = SlurmBroker(
        name="m", hub_id="h", broker="http://127.0.0.1:1", audience="a", watch_token=watch_token
    )
    with pytest.raises(ClusterUnreachable) as caught:
        await broker.watch()
    assert "SECRET" not in repr(caught.value)
    assert caught.value.__cause__ is None
    await broker.close()


async def test_a_hub_without_a_token_of_its_own_judges_no_job(url):
    async def watch_token():
        raise NeedsLogin("The hub's client was refused.")

    broker = SlurmBroker(name="m", hub_id="h", broker=url, audience="a", watch_token=watch_token)
    with pytest.raises(ClusterUnreachable):
        await broker.look("1")
    await broker.close()


async def test_a_404_of_somebody_else_does_not_make_a_job_gone(url):
    async def watch_token():
        return "watcher:compute.read"

    broker = SlurmBroker(
        name="m", hub_id="h", broker=f"{url}/wrong", audience="a", watch_token=watch_token
    )
    with pytest.raises(ClusterUnreachable):
        await broker.look("1")
    await broker.close()


async def test_what_has_no_name_is_logged_once_and_its_job_lives(client, slurm, caplog):
    slurm.add("1", "alice", job_state=["SOMETHING_NEW"])
    slurm.add("2", "alice", job_state=["PENDING"], state_reason="SunSpots")
    for _ in range(3):
        shown = await client.watch()
        assert (await client.look("1")).state is JobState.UNKNOWN
    assert (shown["1"].state, shown["2"].state) == (JobState.UNKNOWN, JobState.QUEUED)
    told = [r.getMessage() for r in caplog.records if "without a name" in r.getMessage()]
    assert told == [
        "maxwell: a job state without a name: SOMETHING_NEW",
        "maxwell: a reason without a name: SunSpots",
    ]
