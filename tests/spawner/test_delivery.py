"""What a session is given and told of its access tokens, whatever the provider says."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY
from roost_shepherd.errors import NeedsLogin, ProviderUnreachable, ScopeRefused
from roost_shepherd.shepherd import AccessToken, GrantStatus
from roost_shepherd.vault.models import GrantState
from roost_spawner.delivery import (
    SHARED,
    Handout,
    Standing,
    TokenState,
    fresh_tokens,
    tell,
    withheld,
)
from roost_spawner.record import Record, Wish
from roost_spawner.sessions import Session

pytestmark = pytest.mark.unit

LOG = logging.getLogger(__name__)
WISHES = {
    "default": Wish("https://dcache.example.org", "storage.read:/"),
    "archive": Wish("https://tape.example.org", "storage.read:/ storage.modify:/ storage.stage:/"),
}
RECORD = Record(
    "0" * 32,
    "hub",
    "pool",
    "interactive",
    "alice",
    issuer="https://iam.example.org/",
    wishes=WISHES,
)


class Shepherd:
    """Answers as the test says, by audience."""

    def __init__(self, **changes):
        self.errors = {}
        self.changes = changes
        self.state = GrantStatus(GrantState.LIVE)

    async def access_token(self, owner, *, audience, scopes):
        if audience in self.errors:
            raise self.errors[audience]
        now = time.time()
        token = AccessToken("secret-value", now + 60, audience, frozenset(scopes), now + 40)
        return replace(token, **self.changes)

    async def status(self, owner):
        return self.state


class Host:
    agent_folder = ""

    def keep(self):
        """Keep nothing."""


def session(**changes):
    return Session(replace(RECORD, **changes), ("alice", ""), Host())


async def test_a_good_token_is_given_and_nothing_is_said_of_it():
    handout = await fresh_tokens(Shepherd(), RECORD, LOG)
    assert set(handout.tokens) == set(handout.standings) == {"default", "archive"}
    assert handout.tokens["default"]["value"] == "secret-value"
    assert 35 < handout.tokens["default"]["refresh_in"] <= 40
    assert {(s.state, s.message) for s in handout.standings.values()} == {(TokenState.GOOD, "")}
    assert (handout.failure, handout.again_in) == (None, None)


async def test_scopes_that_were_not_given_are_named_and_the_token_is_given():
    handout = await fresh_tokens(Shepherd(scopes=frozenset({"storage.read:/"})), RECORD, LOG)
    archive = handout.standings["archive"]
    assert handout.standings["default"].missing_scopes == ()
    assert archive.missing_scopes == ("storage.modify:/", "storage.stage:/")
    assert archive.state is TokenState.GOOD
    assert archive.message == (
        "The token archive lacks the scopes storage.modify:/, storage.stage:/: "
        "iam.example.org did not give them."
    )
    assert "archive" in handout.tokens


@pytest.mark.parametrize(
    ("error", "again_in"),
    [
        (ScopeRefused("The IAM does not give this audience."), 60.0),
        (NeedsLogin("Your login has ended; please log in again."), 60.0),
        (ProviderUnreachable("iam.example.org does not answer at the moment."), 10.0),
    ],
)
async def test_a_token_that_cannot_be_had_is_named_beside_the_others(error, again_in):
    shepherd = Shepherd()
    shepherd.errors["https://tape.example.org"] = error
    handout = await fresh_tokens(shepherd, RECORD, LOG)
    assert set(handout.tokens) == {"default"}
    archive = handout.standings["archive"]
    assert (archive.state, archive.expires_at) == (TokenState.MISSING, None)
    assert archive.message == f"No token archive can be had: {error.sentence}"
    assert handout.again_in == again_in
    assert not handout.none


async def test_scopes_that_cost_a_token_are_named():
    shepherd = Shepherd()
    refused = ScopeRefused("iam.example.org does not give it.")
    refused.missing = ("storage.stage:/",)
    shepherd.errors["https://tape.example.org"] = refused
    archive = (await fresh_tokens(shepherd, RECORD, LOG)).standings["archive"]
    assert (archive.state, archive.missing_scopes) == (TokenState.MISSING, ("storage.stage:/",))
    assert archive.message.endswith("Your login there does not have the scope storage.stage:/.")


async def test_without_any_token_the_session_learns_why():
    shepherd = Shepherd()
    shepherd.state = GrantStatus(GrantState.RETRYING, failing_since=1000.0)
    for wish in WISHES.values():
        shepherd.errors[wish.audience] = ProviderUnreachable("It does not answer.")
    handout = await fresh_tokens(shepherd, RECORD, LOG)
    assert handout.none
    assert handout.standings["default"].since == 1000.0
    assert handout.standings["default"].away == "iam.example.org"


async def test_a_token_past_its_deadline_says_since_when_the_provider_is_away():
    now = time.time()
    shepherd = Shepherd(renew_at=now - 5, expires_at=now + 15)
    assert (await fresh_tokens(shepherd, RECORD, LOG)).standings["default"].state == "good"
    shepherd.state = GrantStatus(GrantState.RETRYING, failing_since=now - 4)
    standing = (await fresh_tokens(shepherd, RECORD, LOG)).standings["default"]
    assert (standing.state, standing.since) == (TokenState.RETRYING, now - 4)
    assert standing.expires_at == now + 15


async def test_the_first_token_is_the_default_one_where_none_has_that_name():
    wishes = {"archive": WISHES["archive"], "other": WISHES["default"]}
    handout = await fresh_tokens(Shepherd(), replace(RECORD, wishes=wishes), LOG)
    assert handout.tokens["default"] == handout.tokens["archive"]
    assert handout.standings["default"] == handout.standings["archive"]


async def test_a_session_that_is_to_have_none_lacks_none():
    handout = await fresh_tokens(Shepherd(), replace(RECORD, wishes={}), LOG)
    assert handout == Handout()
    assert withheld(replace(RECORD, wishes={}), 30.0).standings == {}


def test_no_token_is_in_what_is_shown_of_a_handout():
    handout = Handout({"default": {"value": "secret-value"}}, {})
    assert "secret-value" not in repr(handout)
    assert "secret-value" not in str(handout.states)


async def test_what_is_wrong_with_a_token_is_said_once_on_the_pending_page():
    made = session()
    shepherd = Shepherd(scopes=frozenset({"storage.read:/"}))
    for _ in range(2):
        tell(made, await fresh_tokens(shepherd, RECORD, LOG))
    assert [message.partition(":")[0] for _, message in made.news] == [
        "The token archive lacks the scopes storage.modify"
    ]
    assert made.tokens["archive"].missing_scopes


async def test_a_running_session_gets_no_lines_of_a_pending_page():
    made = session(ready=True)
    tell(made, await fresh_tokens(Shepherd(scopes=frozenset()), RECORD, LOG))
    assert made.news == []
    assert made.tokens["default"].missing_scopes == ("storage.read:/",)


async def test_sharing_is_noticed_once_and_its_end_too():
    made = session(ready=True)
    for handout in (withheld(RECORD, 30.0), withheld(RECORD, 30.0)):
        tell(made, handout)
    assert [notice.message for notice in made.notices] == [SHARED]
    tell(made, await fresh_tokens(Shepherd(), RECORD, LOG))
    assert [notice.level for notice in made.notices] == ["warning", "info"]


def counted():
    return REGISTRY.get_sample_value("roost_token_delivery_seconds_count") or 0.0


def test_the_lag_is_counted_once_for_each_renewed_token():
    made, before, now = session(), counted(), time.time()

    def given(expires_at, issued_at):
        tokens = {"default": {"value": "x", "expires_at": expires_at, "refresh_in": 1.0}}
        standing = {"default": Standing(TokenState.GOOD, expires_at)}
        tell(made, Handout(tokens, standing, issued_at={"default": issued_at}))

    given(now + 10, now - 50)  # the first: it may have served another session before
    assert counted() == before
    for _ in range(2):
        given(now + 60, now - 2)
    assert counted() == before + 1
