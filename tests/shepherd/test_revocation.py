"""A logout while the provider is away: it is told later, and only of what is still ended."""

from __future__ import annotations

import asyncio

import pytest
from roost_shepherd.errors import NoGrant, ProviderUnreachable
from roost_shepherd.vault.models import GrantState

pytestmark = pytest.mark.unit

AP = "https://ap.example.org:9618"


async def take(shepherd):
    return await shepherd.access_token("alice", audience=AP, scopes=["compute.read"])


async def rounds(shepherd, clock, times=1):
    for _ in range(times):
        clock.ahead += 61
        await shepherd._loop.round()


def kept(shepherd):
    return shepherd._vault.grant("alice").refresh_token


@pytest.fixture
async def ended(shepherd, double, log_in):
    """A grant that was given up while the provider was away."""
    grant = await log_in(shepherd)
    await double.stop()
    await shepherd.forget("alice")
    assert kept(shepherd) == grant.refresh_token
    return grant


async def test_it_is_revoked_when_the_provider_is_back_and_then_forgotten(
    shepherd, double, clock, ended
):
    await rounds(shepherd, clock, 2)
    await double.start()
    await rounds(shepherd, clock, 3)
    assert double.revoked == [ended.refresh_token]
    assert kept(shepherd) is None
    assert (await shepherd.status("alice")).state is GrantState.REVOKED


async def test_a_restarted_hub_remembers_it(shepherd, make_shepherd, double, clock, ended):
    await shepherd.stop()
    await double.start()
    again = make_shepherd()
    again.open()
    await rounds(again, clock)
    assert double.revoked == [ended.refresh_token]


async def test_it_is_no_grant_meanwhile(shepherd, double, ended):
    await double.start()
    with pytest.raises(NoGrant):
        await take(shepherd)
    assert double.refreshes == []


async def test_a_new_login_is_not_revoked(shepherd, double, clock, ended, log_in):
    await double.start()
    new = await log_in(shepherd)
    await rounds(shepherd, clock, 2)
    assert double.revoked == []
    assert new.alive
    assert (await shepherd.status("alice")).state is GrantState.LIVE


async def test_what_comes_back_after_the_logout_is_what_is_revoked_later(
    shepherd, double, clock, log_in, monkeypatch
):
    grant = await log_in(shepherd)
    old = grant.refresh_token
    await shepherd._provider.verifier.metadata()
    double.answers.clear()
    caller = asyncio.create_task(take(shepherd))
    await double.asked()
    real = shepherd._provider.revoke
    monkeypatch.setattr(shepherd._provider, "revoke", away())
    await shepherd.forget("alice")
    double.answers.set()
    with pytest.raises(NoGrant):
        await caller
    assert kept(shepherd) == grant.refresh_token != old
    monkeypatch.setattr(shepherd._provider, "revoke", real)
    await rounds(shepherd, clock)
    assert double.revoked == [grant.refresh_token]
    assert not grant.alive


def away():
    async def revoke(token, hint="refresh_token"):
        raise ProviderUnreachable("It does not answer.")

    return revoke


async def test_who_cannot_revoke_is_not_asked_for_ever(shepherd, double, clock, log_in):
    double.metadata = {"revocation_endpoint": double.issuer + "nowhere"}
    await log_in(shepherd)
    await shepherd.forget("alice")
    assert kept(shepherd) is None


async def test_a_token_that_has_ended_by_itself_is_forgotten(shepherd, double, clock, ended):
    clock.ahead = 31 * 24 * 3600
    await rounds(shepherd, clock)
    assert kept(shepherd) is None
    assert double.revoked == []


async def test_one_that_does_not_answer_is_not_asked_for_all(
    shepherd, double, clock, log_in, monkeypatch
):
    await double.stop()
    for owner in ("alice", "bob", "carol"):
        await log_in(shepherd, owner, owner)
        await shepherd.forget(owner)
    asked = []
    real = shepherd._provider.revoke

    async def revoke(token, hint="refresh_token"):
        asked.append(token)
        return await real(token, hint)

    monkeypatch.setattr(shepherd._provider, "revoke", revoke)
    await rounds(shepherd, clock)
    assert len(asked) == 1
    await double.start()
    await rounds(shepherd, clock)
    assert len(double.revoked) == 3
