"""Logins through a real provider's page into a real hub."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from roost_shepherd.errors import ProviderUnreachable

from tests.support.http_proxy import HttpProxy
from tests.support.hub import in_process_hub
from tests.support.iam import Browser, Refused, claims

from .conftest import ALICE, AP, BIG, BROKER, CAROL, ROOT, STRANGER, account, log_in

pytestmark = pytest.mark.hub


async def test_a_person_is_the_account_that_the_map_file_gives_them(world):
    async with world.hub() as hub:
        _, end = await log_in(hub, world, ALICE)
        assert end.endswith("/hub/home")
        user = account(hub, "alice")
        assert {group.name for group in user.groups} == {"/roost", "/roost/users"}
        assert not user.admin


async def test_a_provider_behind_an_http_proxy_is_asked_through_it_alone(world, caplog):
    proxy = HttpProxy("s3cret-of-the-proxy")
    await proxy.start()
    async with world.hub(http_proxy=proxy.url) as hub:
        await log_in(hub, world, ALICE)
        token = await hub.authenticator.shepherd.access_token(
            "alice", audience=AP, scopes=["compute.read"]
        )
        assert claims(token.value)["aud"] == AP
        assert len(set(proxy.tunnels)) == 1
        assert len(proxy.tunnels) >= 3  # discovery and keys, the login, the renewal
        await proxy.stop()
        with pytest.raises(ProviderUnreachable):
            await hub.authenticator.shepherd.access_token(
                "alice", audience=BROKER, scopes=["compute.read"]
            )
    assert "s3cret-of-the-proxy" not in caplog.text


async def test_the_admins_group_makes_an_admin(world):
    async with world.hub() as hub:
        await log_in(hub, world, CAROL)
        assert account(hub, "carol").admin


async def test_an_account_with_capitals_keeps_them(world):
    async with world.hub() as hub:
        await log_in(hub, world, BIG)
        assert account(hub, "BigAccount") is not None


async def test_the_grant_is_the_shepherds_and_gives_tokens_for_each_audience(world):
    async with world.hub() as hub:
        await log_in(hub, world, ALICE)
        shepherd = hub.authenticator.shepherd
        status = await shepherd.status("alice")
        assert (status.state, status.issuer, status.subject) == (
            "live",
            world.iam.issuer,
            ALICE.subject,
        )
        for audience in (AP, BROKER):
            token = await shepherd.access_token(
                "alice", audience=audience, scopes=["compute.read", "compute.create"]
            )
            found = claims(token.value)
            assert found["aud"] == audience
            assert found["sub"] == ALICE.subject
            assert found["scope"].split() == ["compute.read", "compute.create"]


async def test_no_token_is_in_auth_state_nor_in_the_log(world, caplog):
    async with world.hub() as hub:
        seen = []
        exchange = hub.authenticator.get_token_info

        async def watched(*arguments):
            answer = await exchange(*arguments)
            seen.extend(answer[name] for name in ("access_token", "refresh_token", "id_token"))
            return answer

        hub.authenticator.get_token_info = watched
        await log_in(hub, world, ALICE)
        state = await hub.users[account(hub, "alice")].get_auth_state()
        assert state["iam_user"]["subject"] == ALICE.subject
        assert len(seen) == 3
        for secret in [*seen, world.client.client_secret]:
            assert secret not in json.dumps(state)
            assert secret not in caplog.text


async def test_who_has_no_account_reads_whom_to_ask_and_what_to_quote(world):
    async with world.hub() as hub:
        with pytest.raises(Refused) as caught:
            await log_in(hub, world, STRANGER)
        assert caught.value.status == 403
        for words in (world.iam.issuer, STRANGER.subject, "helpdesk@roost.test"):
            assert words in caught.value.said
        assert (await hub.authenticator.shepherd.status("stranger")).state == "none"
        assert account(hub, "stranger") is None


async def test_nobody_becomes_root_even_if_the_map_says_so(world):
    async with world.hub() as hub:
        with pytest.raises(Refused, match="system account") as caught:
            await log_in(hub, world, ROOT)
        assert caught.value.status == 403
        assert account(hub, "root") is None


async def test_a_person_added_to_the_map_file_may_log_in_at_once(world):
    async with world.hub() as hub:
        with pytest.raises(Refused):
            await log_in(hub, world, STRANGER)
        with world.map_file.open("a") as file:
            file.write(f"SCITOKENS {world.iam.issuer},{STRANGER.subject} newcomer\n")
        await log_in(hub, world, STRANGER)
        assert account(hub, "newcomer") is not None


async def test_an_unreadable_map_file_is_no_ones_fault_but_the_admins(world):
    world.map_file.write_text("SCITOKENS nonsense\n")
    async with world.hub() as hub:
        with pytest.raises(Refused, match=r"please tell helpdesk@roost\.test") as caught:
            await log_in(hub, world, ALICE)
        assert caught.value.status == 503
        assert "nonsense" not in caught.value.said


async def test_where_the_site_names_groups_only_those_are_let_in_and_leave_no_grant(world):
    async with world.hub(allowed_groups={"/roost/admins"}) as hub:
        await log_in(hub, world, CAROL)
        with pytest.raises(Refused, match="no group of yours may use this hub") as caught:
            await log_in(hub, world, ALICE)
        assert caught.value.status == 403
        assert "helpdesk@roost.test" in caught.value.said
        assert (await hub.authenticator.shepherd.status("alice")).state == "none"


async def test_the_shepherd_works_as_soon_as_the_hub_is_up(world):
    async with world.hub() as hub:
        await asyncio.sleep(0.1)
        task = hub.authenticator.shepherd._loop_task
        assert task is not None
        assert not task.done()


async def test_a_hub_without_a_key_for_its_vault_does_not_start(world, monkeypatch):
    monkeypatch.delenv("ROOST_VAULT_KEYS", raising=False)
    config = world.config()
    config.Shepherd.vault_keys = []
    with pytest.raises(SystemExit, match="ROOST_VAULT_KEYS"):
        async with in_process_hub(world.folder, config):
            pass


# -- what an attacker could try --------------------------------------------------------------------


def with_query(url, **changes):
    parts = urlsplit(url)
    query = parse_qs(parts.query) | {name: [value] for name, value in changes.items()}
    return urlunsplit(parts._replace(query=urlencode(query, doseq=True)))


async def test_the_request_carries_nonce_pkce_and_every_audience(world):
    async with world.hub() as hub:
        asked = {}
        await log_in(
            hub, world, ALICE, change=lambda url: asked.update(parse_qs(urlsplit(url).query)) or url
        )
        assert asked["resource"] == [AP, BROKER]
        assert asked["code_challenge_method"] == ["S256"]
        assert len(asked["nonce"][0]) >= 32
        assert "offline_access" in asked["scope"][0].split()


async def test_logins_ask_for_what_a_changed_site_file_needs_once(world):
    async with world.hub() as hub:
        needs = {AP, "https://new.example.org"}, ["compute.read", "storage.read:/"]
        new = hub.authenticator.ask_for(*needs)
        assert new == ("https://new.example.org", "storage.read:/")
        assert hub.authenticator.ask_for(*needs) == ()
        asked = {}
        with contextlib.suppress(Refused):  # this provider knows no such audience
            await log_in(
                hub,
                world,
                ALICE,
                change=lambda url: asked.update(parse_qs(urlsplit(url).query)) or url,
            )
        assert asked["resource"] == [AP, BROKER, "https://new.example.org"]
        assert asked["scope"][0].split().count("storage.read:/") == 1


async def test_an_id_token_that_answers_another_login_is_refused(world):
    async with world.hub() as hub:
        with pytest.raises(Refused, match="does not answer this login") as caught:
            await log_in(hub, world, ALICE, change=lambda url: with_query(url, nonce="another"))
        assert caught.value.status == 403
        assert account(hub, "alice") is None


def forge(answer, *, key, headers=None, **changes):
    return jwt.encode(
        claims(answer["id_token"]) | changes,
        key,
        algorithm="RS256",
        headers={"kid": "roost-iam-1"} | (headers or {}),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "signature is wrong"),
        ({"iss": "https://evil.example.org"}, "was issued by"),
    ],
)
async def test_an_id_token_that_the_issuer_did_not_sign_is_refused(world, change, said):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    async with world.hub() as hub:
        exchange = hub.authenticator.get_token_info

        async def forged(*arguments):
            answer = await exchange(*arguments)
            return answer | {"id_token": forge(answer, key=key, **change)}

        hub.authenticator.get_token_info = forged
        with pytest.raises(Refused, match=said) as caught:
            await log_in(hub, world, ALICE)
        assert caught.value.status == 403
        assert account(hub, "alice") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"aud": "another-client"}, "not for"),
        ({"exp": int(time.time()) - 3600}, "expired"),
        ({"sub": ""}, "subject"),
    ],
)
async def test_an_id_token_for_others_or_for_another_time_is_refused(world, change, said):
    keys = json.loads((world.iam.folder / "keys.json").read_text())["jwks"]["keys"][0]
    key = jwt.PyJWK(keys, algorithm="RS256").key
    async with world.hub() as hub:
        exchange = hub.authenticator.get_token_info

        async def forged(*arguments):
            answer = await exchange(*arguments)
            return answer | {"id_token": forge(answer, key=key, **change)}

        hub.authenticator.get_token_info = forged
        with pytest.raises(Refused, match=said) as caught:
            await log_in(hub, world, ALICE)
        assert caught.value.status == 403


async def test_a_login_without_an_id_token_is_refused(world):
    async with world.hub() as hub:
        exchange = hub.authenticator.get_token_info

        async def without(*arguments):
            return (await exchange(*arguments)) | {"id_token": None}

        hub.authenticator.get_token_info = without
        with pytest.raises(Refused, match="no id_token"):
            await log_in(hub, world, ALICE)


async def test_a_callback_serves_once(world):
    async with world.hub() as hub:
        browser = Browser(world.iam.ca_file)

        def go():
            start = browser.step(hub.url + "oauth_login")
            back = browser.log_in(
                start.location, "alice", "alice-pw", until=world.client.redirect_uri
            )
            return browser.step(back), browser.step(back)

        first, again = await asyncio.to_thread(go)
        assert first.status == 302
        assert again.status == 400


async def test_a_code_that_the_provider_refuses_asks_for_a_new_login(world):
    async with world.hub() as hub:

        def go():
            browser = Browser(world.iam.ca_file)
            start = browser.step(hub.url + "oauth_login")
            back = browser.log_in(
                start.location, "alice", "alice-pw", until=world.client.redirect_uri
            )
            return browser.step(with_query(back, code="made-up"))

        page = await asyncio.to_thread(go)
        assert page.status == 400
        assert "please log in again" in page.text
        assert "made-up" not in page.text


async def test_an_answer_of_another_issuer_is_refused(world):
    async with world.hub() as hub:

        def go():
            browser = Browser(world.iam.ca_file)
            start = browser.step(hub.url + "oauth_login")
            back = browser.log_in(
                start.location, "alice", "alice-pw", until=world.client.redirect_uri
            )
            return browser.step(with_query(back, iss="https://evil.example.org"))

        page = await asyncio.to_thread(go)
        assert page.status == 400
        assert "another identity provider" in page.text


async def test_a_wrong_password_is_said_in_words(world):
    async with world.hub() as hub:
        browser = Browser(world.iam.ca_file)

        def go():
            start = browser.step(hub.url + "oauth_login")
            browser.log_in(start.location, "alice", "nope", until=world.client.redirect_uri)

        with pytest.raises(Refused, match="do not belong together"):
            await asyncio.to_thread(go)


# -- outages ---------------------------------------------------------------------------------------


async def test_while_the_provider_is_away_nobody_is_logged_out_and_logins_say_why(
    world, provider_away
):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        hub.authenticator.auth_refresh_age = 1
        hub.users[account(hub, "alice")]._auth_refreshed = 0
        with provider_away():
            home = await asyncio.to_thread(browser.step, hub.url + "home")
            assert home.status == 200
        status = await hub.authenticator.shepherd.status("alice")
        assert status.state in {"live", "retrying"}


async def test_a_hub_that_starts_while_the_provider_is_away_says_so(world, provider_away):
    with provider_away():
        async with world.hub() as hub:
            page = await asyncio.to_thread(Browser(world.iam.ca_file).step, hub.url + "oauth_login")
            assert page.status == 503
            assert "Logging in is not possible right now" in page.text
            world.iam.start()
            await log_in(hub, world, ALICE)
            world.iam.stop()


async def test_a_login_that_the_provider_ended_has_to_be_renewed(world):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        shepherd = hub.authenticator.shepherd
        await shepherd.forget("alice")
        hub.users[account(hub, "alice")]._auth_refreshed = 0
        home = await asyncio.to_thread(browser.step, hub.url + "home")
        assert home.status == 302
        assert "/hub/login" in home.location
