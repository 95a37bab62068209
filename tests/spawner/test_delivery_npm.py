"""What a session is told of its tokens by a real vault, over an independent provider."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time

import pytest
from roost_shepherd.provider import TokenAnswer
from roost_shepherd.shepherd import Shepherd
from roost_spawner.delivery import TokenState, fresh_tokens
from roost_spawner.record import Record, Wish

from tests.support.iam import COMPUTE_SCOPES, Client, claims
from tests.support.local_iam import Someone, local_iam

pytestmark = pytest.mark.hub

LOG = logging.getLogger(__name__)
ALICE = Someone("alice", "3a7a1c7e-0001", "alice-pw")
CLIENT = Client("roost-hub", secrets.token_urlsafe(24), access_token_ttl=18)
AUDIENCE = "https://ap.roost.test:9618"


@pytest.fixture
def iam(tmp_path):
    folder = tmp_path / "iam"
    folder.mkdir()
    with local_iam(folder, people=[ALICE], clients=[CLIENT]) as iam:
        yield iam


@pytest.fixture
async def shepherd(iam, tmp_path):
    shepherd = Shepherd(
        issuer=iam.issuer,
        client_id=CLIENT.client_id,
        client_secret=CLIENT.client_secret,
        ca_certs=str(iam.ca_file),
        vault_url=f"sqlite:///{tmp_path}/vault.sqlite",
        vault_keys=[secrets.token_hex(32)],
    )
    tokens = await asyncio.to_thread(
        iam.login, CLIENT, ALICE.name, ALICE.password, resources=[AUDIENCE]
    )
    answer = TokenAnswer.from_response(dict(tokens.body), now=time.time())
    await shepherd.store_grant("alice", issuer=iam.issuer, subject=ALICE.subject, answer=answer)
    await shepherd.start()
    yield shepherd
    await shepherd.stop()


@pytest.fixture
def given(iam, shepherd):
    """Return what a session gets that has these wishes."""

    async def given(**wishes):
        record = Record("0" * 32, "hub", "pool", "i", "alice", issuer=iam.issuer, wishes=wishes)
        return await fresh_tokens(shepherd, record, LOG)

    return given


GOOD = Wish(AUDIENCE, COMPUTE_SCOPES[0])


async def until(given, state):
    end = time.monotonic() + 30
    while True:
        standing = (await given(default=GOOD)).standings["default"]
        if standing.state is state:
            return standing
        assert time.monotonic() < end, standing
        await asyncio.sleep(0.2)


async def test_an_outage_of_the_provider_is_told_with_its_beginning_and_heals(iam, given):
    handout = await given(default=GOOD)
    assert claims(handout.tokens["default"]["value"])["aud"] == AUDIENCE
    assert handout.standings["default"].state is TokenState.GOOD
    assert abs(handout.issued_at["default"] - time.time()) < 3
    iam.stop()
    gone = time.time()
    late = await until(given, TokenState.RETRYING)
    assert late.expires_at > time.time()
    assert (late.away, gone <= late.since <= time.time()) == ("localhost", True)
    ended = await until(given, TokenState.MISSING)
    assert (ended.away, ended.since) == ("localhost", late.since)
    assert ended.message.startswith("No token default can be had: ")
    iam.start()
    back = await until(given, TokenState.GOOD)
    assert (back.message, back.away, back.since) == ("", "", None)


async def test_what_the_provider_refuses_costs_a_session_no_other_token(given):
    handout = await given(
        default=GOOD,
        scope=Wish(AUDIENCE, "storage.stage:/never"),
        audience=Wish("https://never.roost.test", COMPUTE_SCOPES[0]),
    )
    assert handout.standings["default"].state is TokenState.GOOD
    assert "default" in handout.tokens
    for name in ("scope", "audience"):
        refused = handout.standings[name]
        assert (refused.state, refused.since) == (TokenState.MISSING, None)
        assert refused.message.startswith(f"No token {name} can be had: ")
    assert handout.standings["scope"].missing_scopes == ("storage.stage:/never",)
    assert handout.standings["audience"].missing_scopes == ()
    again = await given(scope=Wish(AUDIENCE, "storage.stage:/never"))
    assert again.standings["scope"] == handout.standings["scope"]


async def test_a_scope_too_many_costs_the_token_no_other_scope(given):
    wish = Wish(AUDIENCE, f"{COMPUTE_SCOPES[0]} storage.stage:/never")
    for _ in range(2):
        handout = await given(more=wish)
        assert claims(handout.tokens["more"]["value"])["scope"] == COMPUTE_SCOPES[0]
        standing = handout.standings["more"]
        assert (standing.state, standing.missing_scopes) == ("good", ("storage.stage:/never",))
        assert "lacks the scope storage.stage:/never" in standing.message
