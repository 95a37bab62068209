from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time

import pytest
from roost_shepherd.errors import BadSetting, NeedsLogin, ProviderUnreachable, VaultLocked
from roost_shepherd.shepherd import AccessToken, Shepherd
from roost_shepherd.vault.models import GrantState

pytestmark = pytest.mark.unit

AP = "https://ap.example.org:9618"
BROKER = "https://ctl.example.org:8443"
READ = ("compute.read",)


def take(shepherd, owner="alice", audience=AP, **more):
    return shepherd.access_token(owner, audience=audience, scopes=READ, **more)


def service(shepherd):
    return shepherd.service_token(audience=BROKER, scopes=READ)


async def until(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the double has no events
            await asyncio.sleep(0.05)


# -- the loop ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("real_time")
async def test_the_loop_renews_what_is_used_before_anyone_asks(shepherd, double, log_in):
    double.lifetime = 3
    await log_in(shepherd)
    first = await take(shepherd)
    await shepherd.start()
    await until(lambda: len(double.refreshes) == 2)
    second = await take(shepherd)
    assert second.value != first.value
    assert len(double.refreshes) == 2


@pytest.mark.usefixtures("real_time")
async def test_the_loop_lets_rest_what_nobody_took(shepherd, double, log_in):
    double.lifetime = 1.5
    await log_in(shepherd)
    await take(shepherd)
    await shepherd.start()
    await asyncio.sleep(4)
    # Once more for the token that was taken; its successor was not.
    assert len(double.refreshes) == 2
    await take(shepherd)
    assert len(double.refreshes) == 3


@pytest.mark.usefixtures("real_time")
async def test_a_session_is_served_valid_tokens_through_many_lives(shepherd, double, log_in):
    double.lifetime = 2
    await log_in(shepherd)
    await shepherd.start()
    seen = set()
    async with asyncio.timeout(60):
        while len(seen) < 5:
            asked_at = time.time()
            token = await take(shepherd)
            seen.add(token.value)
            assert token.expires_at > asked_at
            await asyncio.sleep(0.1)
    assert len(double.refreshes) - len(seen) in (0, 1)  # the next one may be there by now


@pytest.mark.usefixtures("real_time")
async def test_the_loop_outlives_an_outage(shepherd, double, log_in):
    double.lifetime = 2
    await log_in(shepherd)
    await take(shepherd)
    await shepherd.start()
    double.fail = (503, "", {})
    await until(lambda: len(double.refreshes) > 1)
    await shepherd._renewals.drain()
    assert (await shepherd.status("alice")).state is GrantState.RETRYING
    double.fail = None
    before = len(double.refreshes)
    await until(lambda: len(double.refreshes) > before)
    await shepherd._renewals.drain()
    assert (await shepherd.status("alice")).state is GrantState.LIVE


async def test_start_and_stop_twice_are_harmless(make_shepherd):
    shepherd = make_shepherd()
    await shepherd.start()
    await shepherd.start()
    await shepherd.stop()
    await shepherd.stop()
    await shepherd.start()


# -- status --------------------------------------------------------------------------------------


async def test_the_status_says_until_when(shepherd, double, log_in, clock):
    await log_in(shepherd)
    token = await take(shepherd)
    status = await shepherd.status("alice")
    assert status.state is GrantState.LIVE
    assert status.subject == "1111-alice"
    assert status.issuer == double.issuer
    assert status.good_until == token.expires_at
    assert status.login_until == pytest.approx(clock() + 2592000, abs=5)
    assert status.last_error is None


# -- the hub's own token -------------------------------------------------------------------------


async def test_the_hubs_own_token_is_asked_for_once(shepherd, double):
    tokens = await asyncio.gather(*(service(shepherd) for _ in range(50)))
    assert len({token.value for token in tokens}) == 1
    assert len(double.refreshes) == 1
    assert double.refreshes[0]["grant_type"] == "client_credentials"


async def test_the_hubs_own_token_serves_to_its_end_in_an_outage(shepherd, double, clock):
    first = await service(shepherd)
    await double.stop()
    clock.ahead = 100
    assert (await service(shepherd)).value == first.value
    clock.ahead = 121
    with pytest.raises(ProviderUnreachable):
        await service(shepherd)
    await double.start()
    clock.ahead = 300
    assert (await service(shepherd)).value != first.value


async def test_a_watcher_does_not_hammer_a_provider_that_is_away(shepherd, double):
    double.fail = (503, "", {})
    for _ in range(10):
        with contextlib.suppress(Exception):
            await service(shepherd)
    assert len(double.refreshes) == 1


# -- starting ------------------------------------------------------------------------------------


async def test_without_a_key_it_refuses_to_start(make_shepherd, monkeypatch):
    monkeypatch.delenv("ROOST_VAULT_KEYS", raising=False)
    shepherd = Shepherd(issuer="https://iam.example.org/")
    with pytest.raises(VaultLocked, match="ROOST_VAULT_KEYS"):
        await shepherd.start()
    with pytest.raises(VaultLocked, match="ROOST_VAULT_KEYS"):
        shepherd.open()


async def test_keys_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("ROOST_VAULT_KEYS", f"{'a' * 64};{'b' * 64};")
    assert Shepherd().vault_keys == ["a" * 64, "b" * 64]


async def test_an_issuer_without_tls_is_refused(make_shepherd):
    with pytest.raises(BadSetting, match="https://"):
        make_shepherd(issuer="http://iam.example.org").open()


async def test_open_works_before_the_event_loop_is_busy(make_shepherd, double, log_in):
    shepherd = make_shepherd()
    shepherd.open()
    await log_in(shepherd)
    await take(shepherd)


# -- never blocking, never leaking ---------------------------------------------------------------


async def test_a_busy_database_does_not_stop_the_event_loop(shepherd, double, log_in, tmp_path):
    await log_in(shepherd)
    other = sqlite3.connect(tmp_path / "vault.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    caller = asyncio.create_task(take(shepherd))
    loop, longest, last = asyncio.get_running_loop(), 0.0, 0.0
    last = loop.time()
    for _ in range(50):
        await asyncio.sleep(0.02)
        longest, last = max(longest, loop.time() - last), loop.time()
    other.execute("ROLLBACK")
    other.close()
    await caller
    assert longest < 0.5


async def test_no_token_is_in_any_log_or_error(shepherd, double, log_in, clock, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("sqlalchemy").setLevel(logging.DEBUG)
    seen = []

    async def tried(**more):
        try:
            seen.append(repr(await take(shepherd, **more)))
        except Exception as error:
            seen.append(f"{error} {error!r} {error.__cause__} {error.__context__}")

    grant = await log_in(shepherd)
    await tried()
    text = f"Invalid refresh token: {grant.refresh_token}"
    for n, status in enumerate((400, 401, 403, 404, 500, 503), 1):
        clock.ahead = 1000 * n
        body = {"error": "invalid_request", "error_description": text}
        double.fail = (status, body, {})
        await tried(audience=f"https://a{n}")
    double.fail, clock.ahead = None, 9000
    await tried()
    seen.append(repr(await service(shepherd)))
    double.lose_answer = True
    await tried(audience="https://lost")
    double.lose_answer, clock.ahead = False, 9100
    with pytest.raises(NeedsLogin):
        await take(shepherd, audience="https://lost")
    seen.append(repr(await shepherd.status("alice")))
    await shepherd.forget("alice")
    await shepherd.stop()
    haystack = caplog.text + "".join(seen)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert len(double.issued) > 4
    for secret in (*double.issued, double.client_secret):
        assert secret not in haystack
        assert secret.encode() not in stored
    logging.getLogger("sqlalchemy").setLevel(logging.NOTSET)


def test_a_token_shows_no_value():
    assert "secret" not in repr(AccessToken("secret", 1.0, AP, frozenset(READ)))
