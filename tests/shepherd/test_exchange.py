"""Narrowed tokens by token exchange (RFC 8693), and by refresh where that is refused."""

from __future__ import annotations

import asyncio

import pytest
from roost_shepherd.errors import AupRequired, NeedsLogin
from roost_shepherd.vault.models import GrantState

from tests.support.provider_double import ProviderDouble

pytestmark = pytest.mark.unit

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
AUDIENCES = [f"https://service{n}.example.org" for n in range(5)]


class Exchanger(ProviderDouble):
    """A double that exchanges the access tokens that it issued."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata = {"grant_types_supported": ["refresh_token", EXCHANGE]}
        self.exchanges: list[dict[str, str]] = []
        self.refusal: tuple[int, dict[str, str]] | None = None

    def refresh(self, form):
        if form["grant_type"] != EXCHANGE:
            return super().refresh(form)
        self.exchanges.append(form)
        if self.refusal is not None:
            return self.refusal
        if form["subject_token"] not in self.issued or "offline_access" in form["scope"]:
            return 400, {"error": "invalid_request"}
        return 200, self.answer("somebody", form) | {
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"
        }


@pytest.fixture
async def double():
    double = Exchanger()
    await double.start()
    yield double
    await double.stop()


@pytest.fixture
async def shepherd(make_shepherd, log_in):
    shepherd = make_shepherd(exchange=True)
    await log_in(shepherd)
    await shepherd._provider.verifier.metadata()
    return shepherd


def take(shepherd, audience=AUDIENCES[0]):
    return shepherd.access_token("alice", audience=audience, scopes=["compute.read"])


async def test_the_refresh_token_is_shown_once_for_all_audiences(shepherd, double):
    tokens = await asyncio.gather(*(take(shepherd, audience) for audience in AUDIENCES))
    assert len({token.value for token in tokens}) == len(AUDIENCES)
    assert len(double.refreshes) == 1
    assert "resource" not in double.refreshes[0]
    assert sorted(form["resource"] for form in double.exchanges) == AUDIENCES
    assert {form["scope"] for form in double.exchanges} == {"compute.read"}


async def test_an_exchanged_token_is_renewed_at_its_deadline(shepherd, double, clock):
    first = await take(shepherd)
    await shepherd._renewals.uses.settle()
    clock.ahead = 81
    await shepherd._loop.round()
    assert (await take(shepherd)).value != first.value
    assert (len(double.refreshes), len(double.exchanges)) == (2, 2)


async def test_a_provider_that_does_not_say_so_is_not_asked_to(make_shepherd, double, log_in):
    double.metadata = {}
    shepherd = make_shepherd(exchange=True)
    await log_in(shepherd)
    for audience in AUDIENCES:
        await take(shepherd, audience)
    assert double.exchanges == []
    assert len(double.refreshes) == len(AUDIENCES)


async def test_a_client_that_may_not_goes_on_with_refreshes(shepherd, double):
    double.refusal = (400, {"error": "unauthorized_client"})
    for audience in AUDIENCES:
        await take(shepherd, audience)
    assert len(double.exchanges) == 1
    assert len(double.refreshes) == 1 + len(AUDIENCES)
    assert (await shepherd.status("alice")).state is GrantState.LIVE


async def test_a_refused_exchange_does_not_end_a_grant(shepherd, double):
    # IAM ends the access tokens of a grant when it is refreshed (clear_access_tokens_on_refresh).
    double.refusal = (400, {"error": "invalid_grant"})
    await take(shepherd)
    assert (await shepherd.status("alice")).state is GrantState.LIVE
    assert double.refreshes[-1]["resource"] == AUDIENCES[0]


async def test_what_the_grant_itself_waits_for_is_told_by_the_refresh(shepherd, double, clock):
    await take(shepherd)
    clock.ahead = 200
    text = "User alice needs to sign AUP"
    double.fail = (400, {"error": "invalid_grant", "error_description": text}, {})
    with pytest.raises(AupRequired):
        await take(shepherd)
    double.fail = None
    double.grants[0].alive = False
    clock.ahead = 400
    with pytest.raises(NeedsLogin):
        await take(shepherd)


async def test_without_the_setting_nothing_is_exchanged(make_shepherd, double, log_in):
    shepherd = make_shepherd()
    await log_in(shepherd)
    await take(shepherd)
    assert double.exchanges == []
