from __future__ import annotations

import asyncio

import pytest
from roost_shepherd.errors import (
    AccountSuspended,
    AupRequired,
    ClientRefused,
    NeedsLogin,
    NoGrant,
    ProviderBusy,
    ProviderUnreachable,
    ScopeRefused,
    VaultUnusable,
)
from roost_shepherd.provider import TokenAnswer
from roost_shepherd.vault.models import GrantState

pytestmark = pytest.mark.unit


@pytest.fixture
def vault_url(each_url):
    return each_url


AP = "https://ap.example.org:9618"
BROKER = "https://ctl.example.org:8443"
SCOPES = ("compute.read", "compute.create")


async def take(shepherd, owner="alice", audience=AP, scopes=SCOPES, **more):
    return await shepherd.access_token(owner, audience=audience, scopes=scopes, **more)


async def test_a_hundred_callers_cost_one_refresh(shepherd, double, log_in):
    await log_in(shepherd)
    double.delay = 0.1
    tokens = await asyncio.gather(*(take(shepherd) for _ in range(100)))
    assert len({token.value for token in tokens}) == 1
    assert len(double.refreshes) == 1


async def test_the_second_call_is_served_from_the_vault(shepherd, double, log_in):
    await log_in(shepherd)
    assert (await take(shepherd)).value == (await take(shepherd)).value
    assert len(double.refreshes) == 1


async def test_audience_and_scopes_are_sent_every_time(shepherd, double, log_in):
    await log_in(shepherd)
    await take(shepherd)
    assert double.refreshes[0]["resource"] == AP
    assert double.refreshes[0]["scope"] == "compute.create compute.read"


async def test_older_iams_are_asked_by_audience(make_shepherd, double, log_in):
    shepherd = make_shepherd(audience_parameter="audience")
    await log_in(shepherd)
    await take(shepherd)
    assert double.refreshes[0]["audience"] == AP
    assert "resource" not in double.refreshes[0]


async def test_renewals_of_one_grant_wait_for_each_other(shepherd, double, log_in):
    await log_in(shepherd)
    double.delay = 0.05
    audiences = [f"https://a{n}.example.org" for n in range(6)]
    await asyncio.gather(*(take(shepherd, audience=audience) for audience in audiences))
    assert len(double.refreshes) == 6
    assert double.most_at_once == 1
    assert double.grants[0].alive


async def test_two_shepherds_on_one_vault_cost_one_refresh(make_shepherd, double, log_in):
    one, two = make_shepherd(), make_shepherd()
    await log_in(one)
    double.delay = 0.2
    tokens = await asyncio.gather(*(take(s) for s in (one, two) for _ in range(20)))
    assert len({token.value for token in tokens}) == 1
    assert len(double.refreshes) == 1


async def test_two_shepherds_share_a_rotating_refresh_token(make_shepherd, double, log_in):
    shepherds = make_shepherd(), make_shepherd()
    await log_in(shepherds[0])
    double.delay = 0.02
    await asyncio.gather(
        *(take(s, audience=f"https://a{n}.example.org") for n in range(8) for s in shepherds)
    )
    assert len(double.refreshes) == 8
    assert double.grants[0].alive


async def test_a_token_is_renewed_at_two_thirds_of_its_life(shepherd, double, log_in, clock):
    await log_in(shepherd)
    first = await take(shepherd)
    assert first.refresh_in(clock()) == pytest.approx(80, abs=2)
    clock.ahead = 79
    assert (await take(shepherd)).value == first.value
    clock.ahead = 81
    assert (await take(shepherd)).value != first.value


async def test_min_valid_renews_early(shepherd, double, log_in, clock):
    await log_in(shepherd)
    first = await take(shepherd)
    clock.ahead = 70
    assert (await take(shepherd, min_valid=55)).value != first.value


async def test_min_valid_beyond_the_lifetime_does_not_renew_each_time(shepherd, double, log_in):
    await log_in(shepherd)
    for _ in range(5):
        await take(shepherd, min_valid=3600)
    assert len(double.refreshes) == 1


async def test_a_caller_that_goes_away_does_not_stop_the_renewal(shepherd, double, log_in):
    await log_in(shepherd)
    double.answers.clear()
    caller = asyncio.create_task(take(shepherd))
    await double.asked()
    caller.cancel()
    double.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await shepherd._renewals.drain()
    double.delay = 0
    await take(shepherd)
    assert len(double.refreshes) == 1
    assert double.grants[0].alive


async def test_stop_waits_for_the_commit(make_shepherd, double, log_in):
    first = make_shepherd()
    await log_in(first)
    double.answers.clear()
    caller = asyncio.create_task(take(first))
    await double.asked()
    stopping = asyncio.create_task(first.stop())
    await asyncio.sleep(0.1)
    assert not stopping.done()
    double.answers.set()
    await stopping
    await asyncio.gather(caller, return_exceptions=True)
    await take(make_shepherd())
    assert len(double.refreshes) == 1


# -- the provider is away ------------------------------------------------------------------------

TRANSIENT = [
    (503, "<html>", {}),
    (500, {"error": "server_error"}, {}),
    (429, "", {"Retry-After": "7"}),
    (200, "not json", {}),
    (200, {"token_type": "Bearer"}, {}),
    (404, "a proxy's page", {}),
    (400, {"error": "never_heard_of"}, {}),
]


@pytest.mark.parametrize("fail", TRANSIENT, ids=lambda fail: f"{fail[0]}-{str(fail[1])[:12]}")
async def test_a_valid_token_serves_while_the_provider_has_a_problem(
    shepherd, double, log_in, clock, fail
):
    await log_in(shepherd)
    first = await take(shepherd)
    clock.ahead, double.fail = 90, fail
    assert (await take(shepherd)).value == first.value
    status = await shepherd.status("alice")
    assert status.state is GrantState.RETRYING
    assert status.failing_since is not None
    assert status.last_error
    clock.ahead, double.fail = 130, None
    assert (await take(shepherd)).value != first.value
    assert (await shepherd.status("alice")).state is GrantState.LIVE


async def test_nobody_answering_is_transient_and_backs_off(shepherd, double, log_in, clock):
    await log_in(shepherd)
    await take(shepherd)
    await double.stop()
    clock.ahead = 130
    with pytest.raises(ProviderUnreachable) as caught:
        await take(shepherd)
    assert caught.value.retryable
    with pytest.raises(ProviderBusy):  # left alone for a moment
        await take(shepherd)
    await double.start()
    clock.ahead = 200
    await take(shepherd)
    assert (await shepherd.status("alice")).state is GrantState.LIVE


async def test_a_retry_after_is_kept(shepherd, double, log_in, clock):
    await log_in(shepherd)
    double.fail = (429, "", {"Retry-After": "50"})
    with pytest.raises(ProviderBusy):
        await take(shepherd)
    double.fail = None
    clock.ahead = 45
    with pytest.raises(ProviderBusy):
        await take(shepherd)
    clock.ahead = 55
    await take(shepherd)
    assert len(double.refreshes) == 2


# -- only a human can help -----------------------------------------------------------------------


async def test_an_ended_grant_says_log_in_again_and_is_not_asked_again(shepherd, double, log_in):
    grant = await log_in(shepherd)
    grant.alive = False
    for _ in range(3):
        with pytest.raises(NeedsLogin) as caught:
            await take(shepherd)
        assert caught.value.sentence == (
            f"Your login at {double.issuer} has ended; please log in again."
        )
    assert len(double.refreshes) == 1
    assert (await shepherd.status("alice")).state is GrantState.NEEDS_LOGIN


async def test_a_new_login_makes_an_ended_grant_live(shepherd, double, log_in):
    (await log_in(shepherd)).alive = False
    with pytest.raises(NeedsLogin):
        await take(shepherd)
    await log_in(shepherd)
    await take(shepherd)
    assert (await shepherd.status("alice")).state is GrantState.LIVE


IAM_STATES = [
    (400, "invalid_grant", "User alice needs to sign AUP for this organization.", AupRequired),
    (401, "unauthorized", "User alice is suspended.", AccountSuspended),
    (400, "invalid_grant", "User account is disabled", AccountSuspended),
    (401, "invalid_token", "Invalid refresh token: xx.aup.suspended-" + "x" * 30, NeedsLogin),
    (401, "invalid_client", "", ClientRefused),
    (400, "invalid_scope", "Up-scoping is not allowed.", ScopeRefused),
]


@pytest.mark.parametrize(("status", "code", "text", "kind"), IAM_STATES)
async def test_refusals_are_sorted(shepherd, double, log_in, status, code, text, kind):
    await log_in(shepherd)
    double.fail = (status, {"error": code, "error_description": text}, {})
    with pytest.raises(kind):
        await take(shepherd)


async def test_a_signed_aup_makes_the_grant_live_again(shepherd, double, log_in, clock):
    await log_in(shepherd)
    text = "User alice needs to sign AUP"
    double.fail = (400, {"error": "invalid_grant", "error_description": text}, {})
    with pytest.raises(AupRequired):
        await take(shepherd)
    assert (await shepherd.status("alice")).state is GrantState.AUP_REQUIRED
    double.fail = None
    clock.ahead = 61
    await take(shepherd)
    assert (await shepherd.status("alice")).state is GrantState.LIVE


async def test_a_refused_audience_leaves_the_grant_alive(shepherd, double, log_in):
    await log_in(shepherd)
    double.refused_audiences = {BROKER}
    for _ in range(3):
        with pytest.raises(ScopeRefused):
            await take(shepherd, audience=BROKER)
    assert len(double.refreshes) == 1
    await take(shepherd)
    assert (await shepherd.status("alice")).state is GrantState.LIVE


async def test_fewer_scopes_than_asked_for_are_told(shepherd, double, log_in, caplog):
    await log_in(shepherd)
    double.given_scopes = {"compute.read"}
    token = await take(shepherd)
    assert token.scopes == {"compute.read"}
    assert "did not give alice the scopes compute.create" in caplog.text


async def test_without_a_grant_there_is_no_token(shepherd):
    with pytest.raises(NoGrant):
        await take(shepherd, "nobody")
    assert (await shepherd.status("nobody")).state is GrantState.NONE


async def test_a_login_without_a_refresh_token_needs_a_login(shepherd, double):
    answer = TokenAnswer(access_token="at", expires_at=0.0, scopes=frozenset())
    await shepherd.store_grant("alice", issuer=double.issuer, subject="s", answer=answer)
    with pytest.raises(NeedsLogin):
        await take(shepherd)


async def test_a_grant_of_another_issuer_is_not_sent_to_this_one(make_shepherd, double, log_in):
    shepherd = make_shepherd()
    answer = TokenAnswer(
        access_token="a", expires_at=0.0, scopes=frozenset(), refresh_token="foreign"
    )
    await shepherd.store_grant("alice", issuer="https://old.org", subject="s", answer=answer)
    with pytest.raises(NeedsLogin):
        await take(shepherd)
    assert double.refreshes == []


# -- races with logins and logouts ---------------------------------------------------------------


async def test_a_login_during_a_renewal_wins(shepherd, double, log_in):
    await log_in(shepherd)
    double.answers.clear()
    caller = asyncio.create_task(take(shepherd))
    await double.asked()
    second = await log_in(shepherd, subject="2222-alice")
    double.answers.set()
    token = await caller
    assert len(double.refreshes) == 2
    assert second.used
    assert (await shepherd.status("alice")).subject == "2222-alice"
    assert (await take(shepherd)).value == token.value


async def test_invalid_grant_of_a_replaced_grant_is_not_held_against_the_new_one(
    shepherd, double, log_in
):
    (await log_in(shepherd)).alive = False
    double.answers.clear()
    caller = asyncio.create_task(take(shepherd))
    await double.asked()
    await log_in(shepherd)
    double.answers.set()
    await caller
    assert (await shepherd.status("alice")).state is GrantState.LIVE


async def test_forget_revokes_and_forgets(shepherd, double, log_in):
    grant = await log_in(shepherd)
    await take(shepherd)
    await shepherd.forget("alice")
    assert double.revoked == [grant.refresh_token]
    assert (await shepherd.status("alice")).state is GrantState.REVOKED
    with pytest.raises(NoGrant):
        await take(shepherd)


async def test_forget_works_while_the_provider_is_away(shepherd, double, log_in):
    await log_in(shepherd)
    await double.stop()
    await shepherd.forget("alice")
    assert (await shepherd.status("alice")).state is GrantState.REVOKED


async def test_a_token_that_comes_back_after_a_logout_is_revoked(shepherd, double, log_in):
    grant = await log_in(shepherd)
    double.answers.clear()
    caller = asyncio.create_task(take(shepherd))
    await double.asked()
    await shepherd.forget("alice")
    double.answers.set()
    with pytest.raises(NoGrant):
        await caller
    assert grant.refresh_token in double.revoked


async def test_an_answer_outlives_a_database_that_cannot_be_written_for_a_moment(
    shepherd, double, log_in, monkeypatch
):
    await log_in(shepherd)
    vault = shepherd._vault
    real, calls = vault.commit_renewal, []

    def flaky(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise VaultUnusable("full")
        return real(*args, **kwargs)

    monkeypatch.setattr(vault, "commit_renewal", flaky)
    await take(shepherd)
    assert len(double.refreshes) == 1
    await take(shepherd, audience=BROKER)
    assert double.grants[0].alive


# -- what a provider may write -------------------------------------------------------------------


async def test_scopes_that_no_database_takes_cost_nobody_the_grant(
    shepherd, double, log_in, monkeypatch
):
    grant = await log_in(shepherd)
    real = double.answer
    odd = "compute.read \x00 a\x00b \ud800 \u2028 \u00e9"
    monkeypatch.setattr(double, "answer", lambda *args: real(*args) | {"scope": odd})
    assert (await take(shepherd)).scopes == {"compute.read"}
    assert grant.alive
    assert (await shepherd.status("alice")).state is GrantState.LIVE


@pytest.mark.parametrize("odd", ["\x00", "a\x00", "\ud800", "\u00e9", "a\nb", ""])
def test_a_token_that_cannot_be_sent_is_none(odd):
    with pytest.raises(ProviderBusy, match="no access_token"):
        TokenAnswer.from_response({"access_token": odd}, now=0)
    answer = TokenAnswer.from_response({"access_token": "a", "refresh_token": odd}, now=0)
    assert answer.refresh_token is None
