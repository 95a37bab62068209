"""``roost-shepherd`` as a process, beside a hub, at a provider that takes no token twice."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import json
import os
import re
import secrets
import signal
import sys
import time
from datetime import datetime

import pytest
from roost_shepherd.expiry import JITTER, RENEW_AT
from roost_shepherd.provider import TokenAnswer
from roost_shepherd.shepherd import Shepherd
from tornado.httpclient import AsyncHTTPClient

from tests.support.guest import until
from tests.support.hub import free_port
from tests.support.iam import COMPUTE_SCOPES, Client
from tests.support.local_iam import Someone, local_iam

pytestmark = pytest.mark.hub

LIFE = 6
PEOPLE = [Someone("alice", "3a7a1c7e-0001", "alice-pw"), Someone("bob", "3a7a1c7e-0002", "bob-pw")]
AUDIENCES = [f"https://service{n}.roost.test" for n in range(4)]
SCOPES = COMPUTE_SCOPES[:2]


@pytest.fixture
def iam(tmp_path):
    client = Client("roost-hub", secrets.token_urlsafe(24), access_token_ttl=LIFE)
    folder = tmp_path / "iam"
    folder.mkdir()
    with local_iam(folder, people=PEOPLE, clients=[client]) as iam:
        yield iam


@pytest.fixture
def settings(iam, tmp_path):
    client = iam.clients[0]
    return {
        "issuer": iam.issuer,
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "ca_certs": str(iam.ca_file),
        "vault_url": f"sqlite:///{tmp_path}/vault.sqlite",
        "vault_keys": [secrets.token_hex(32)],
    }


async def log_in(shepherd, iam, person):
    tokens = await asyncio.to_thread(
        iam.login, iam.clients[0], person.name, person.password, resources=AUDIENCES
    )
    answer = TokenAnswer.from_response(dict(tokens.body), now=time.time())
    await shepherd.store_grant(
        person.name, issuer=iam.issuer, subject=person.subject, answer=answer
    )


class Process:
    """``roost-shepherd``, running."""

    def __init__(self, tmp_path, settings):
        self.port = free_port()
        self.config = tmp_path / "shepherd_config.py"
        lines = [f"c.Shepherd.{name} = {value!r}" for name, value in settings.items()]
        self.config.write_text("c = get_config()\n" + "\n".join(lines) + "\n")
        self.process = None

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "roost_shepherd", f"--config={self.config}"),
            f"--port={self.port}",
            env={name: v for name, v in os.environ.items() if name != "ROOST_VAULT_KEYS"},
            stderr=asyncio.subprocess.PIPE,
        )
        return self

    async def up(self):
        for _ in range(200):
            with contextlib.suppress(OSError):
                return await self.get("/health")
            assert self.process.returncode is None, await self.process.stderr.read()
            await asyncio.sleep(0.1)
        raise AssertionError("roost-shepherd does not answer")

    async def get(self, path):
        answer = await AsyncHTTPClient().fetch(
            f"http://127.0.0.1:{self.port}{path}", raise_error=False
        )
        if answer.code == 599:
            raise OSError
        return answer.code, answer.body.decode()

    async def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        _, said = await asyncio.wait_for(self.process.communicate(), 30)
        return self.process.returncode, said.decode()


@pytest.fixture
async def process(tmp_path, settings):
    made = await Process(tmp_path, settings).start()
    yield made
    if made.process.returncode is None:
        made.process.kill()
        await made.process.communicate()


def issues(iam):
    """Return when each person's token for each audience was made by a refresh."""
    found = collections.defaultdict(list)
    for line in iam.log.splitlines():
        match = re.match(r"(\S+) token client=\S+ sub=(\S+) aud=(\S+) grant=.*refresh_token", line)
        if match:
            moment = datetime.fromisoformat(match[1]).timestamp()
            found[match[2], match[3]].append(moment)
    return found


async def test_a_hub_and_roost_shepherd_at_once_renew_once_for_each_deadline(
    iam, settings, process
):
    hub = Shepherd(**settings)
    try:
        for person in PEOPLE:
            await log_in(hub, iam, person)
        await hub.start()
        await process.up()
        until = time.time() + 3 * LIFE

        async def session(owner, audience):
            while time.time() < until:
                token = await hub.access_token(owner, audience=audience, scopes=SCOPES)
                assert token.expires_at > time.time()
                await asyncio.sleep(min(0.3, max(0.05, token.refresh_in(time.time()))))

        wants = list(itertools.product((p.name for p in PEOPLE), AUDIENCES))
        await asyncio.gather(*(session(*want) for want in wants))
    finally:
        await hub.stop()
    code, _ = await process.end()
    assert code == 0
    assert "refused" not in iam.log
    assert "revoked" not in iam.log
    made = issues(iam)
    assert len(made) == len(wants)
    for moments in made.values():
        apart = [later - earlier for earlier, later in itertools.pairwise(moments)]
        assert len(apart) >= 3
        # Each deadline once: nothing is renewed before its own.
        assert min(apart) > LIFE * (RENEW_AT - JITTER) - 0.5, apart


async def test_it_renews_for_a_hub_that_leaves_the_loop_to_it(iam, settings, process):
    hub = Shepherd(renew_ahead=False, **settings)
    try:
        await log_in(hub, iam, PEOPLE[0])
        await hub.start()
        await hub.access_token("alice", audience=AUDIENCES[0], scopes=SCOPES)
        await hub._renewals.uses.settle()
        await process.up()
        await asyncio.sleep(LIFE * 0.9)
        assert len(issues(iam)[PEOPLE[0].subject, AUDIENCES[0]]) == 2
        assert hub.health().good
    finally:
        await hub.stop()
    _, metrics = await process.get("/metrics")
    assert 'roost_renewals_total{outcome="renewed"} 1.0' in metrics


async def test_its_health_and_metrics_say_how_it_stands(process):
    code, health = await process.up()
    assert (code, json.loads(health)["status"]) == (200, "good")

    async def counted():
        code, metrics = await process.get("/metrics")
        assert code == 200
        return 'roost_grants{state="live"} 0.0' in metrics

    await until(counted, "grants are not counted")
    code, said = await process.end()
    assert code == 0
    assert "All is in the vault" in said


async def test_a_wrong_key_stops_it_with_a_sentence(tmp_path, settings, process):
    await process.up()
    await process.end()
    other = await Process(tmp_path, settings | {"vault_keys": [secrets.token_hex(32)]}).start()
    _, said = await asyncio.wait_for(other.process.communicate(), 30)
    assert other.process.returncode == 1
    assert "do not open the vault" in said.decode()
    assert "Traceback" not in said.decode()


async def test_a_configuration_that_is_not_there_is_named(tmp_path, settings):
    process = Process(tmp_path, settings)
    process.config.unlink()
    await process.start()
    _, said = await asyncio.wait_for(process.process.communicate(), 30)
    assert process.process.returncode == 1
    assert str(process.config) in said.decode()


async def test_a_stop_waits_for_the_answer_of_the_provider(
    double, log_in_double, tmp_path, vault_key
):
    hub = log_in_double.shepherd
    await log_in_double()
    double.lifetime = 4
    await hub.access_token("alice", audience=AUDIENCES[0], scopes=SCOPES)
    await hub.stop()
    double.delay = 2.0
    process = await Process(
        tmp_path,
        {
            "issuer": double.issuer,
            "client_id": double.client_id,
            "client_secret": double.client_secret,
            "vault_url": f"sqlite:///{tmp_path}/vault.sqlite",
            "vault_keys": [vault_key],
        },
    ).start()
    await process.up()
    async with asyncio.timeout(15):
        while not double._now_in:  # noqa: ASYNC110 - the double has no events
            await asyncio.sleep(0.05)
    code, _ = await process.end()
    assert code == 0
    double.delay = 0
    again = log_in_double.again()
    await again.access_token("alice", audience="https://another", scopes=SCOPES)
    assert double.grants[0].alive  # the rotated refresh token was committed


@pytest.fixture
def log_in_double(make_shepherd, log_in):
    class LogIn:
        shepherd = make_shepherd()
        again = staticmethod(make_shepherd)

        async def __call__(self):
            await log_in(self.shepherd)

    return LogIn()
