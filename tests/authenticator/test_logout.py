"""A logout gives the grant up, at once or when the last session has ended."""

from __future__ import annotations

import asyncio

import pytest
from roost_authenticator import pages
from roost_authenticator.departures import MARK
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from tests.support.iam import Refused

from .conftest import ALICE, CAROL, account, log_in

pytestmark = pytest.mark.hub


async def refresh_token(hub):
    shepherd = hub.authenticator.shepherd
    return (await shepherd._threads.run(shepherd._vault.grant, "alice")).refresh_token


def log_out(hub, browser):
    return asyncio.to_thread(browser.step, hub.url + "logout")


def refused_by_the_provider(world, token):
    try:
        world.iam.refresh(world.client, token)
    except Refused as refused:
        return refused.said == "invalid_grant"
    return False


async def test_a_logout_without_sessions_revokes_at_the_provider(world):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        token = await refresh_token(hub)
        page = await log_out(hub, browser)
        assert page.status == 200
        assert "has given up your login" in page.text
        assert (await hub.authenticator.shepherd.status("alice")).state == "revoked"
        assert await asyncio.to_thread(refused_by_the_provider, world, token)
        home = await asyncio.to_thread(browser.step, hub.url + "home")
        assert home.status == 302


async def test_a_logout_with_a_session_says_so_and_revokes_after_a_restart_of_the_hub(world):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        hub.authenticator.sessions_of.append(lambda name: name == "alice")
        token = await refresh_token(hub)
        page = await log_out(hub, browser)
        assert "as soon as nothing of yours needs it" in page.text
        departures = hub.authenticator.standing.departures
        await departures.round()
        assert (await hub.authenticator.shepherd.status("alice")).state == "live"
        assert (await hub.users[account(hub, "alice")].get_auth_state())[MARK] is True
    async with world.hub() as hub:
        departures = hub.authenticator.standing.departures
        await departures.recall(hub)
        assert "alice" in departures
        await departures.round()
        assert (await hub.authenticator.shepherd.status("alice")).state == "revoked"
        assert MARK not in await hub.users[account(hub, "alice")].get_auth_state()
        assert await asyncio.to_thread(refused_by_the_provider, world, token)


async def test_a_new_login_takes_the_wish_back(world):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        needed = [True]
        hub.authenticator.sessions_of.append(lambda name: needed[0])
        await log_out(hub, browser)
        await log_in(hub, world, ALICE)
        needed[0] = False
        await hub.authenticator.standing.departures.round()
        assert (await hub.authenticator.shepherd.status("alice")).state == "live"


async def test_a_logout_where_the_vault_fails_is_still_a_logout(world, monkeypatch):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)

        async def broken(_name):
            raise RuntimeError("a bug")

        monkeypatch.setattr(hub.authenticator.shepherd, "forget", broken)
        page = await log_out(hub, browser)
        assert page.status == 200
        assert "as soon as nothing of yours needs it" in page.text
        assert (await asyncio.to_thread(browser.step, hub.url + "home")).status == 302


@pytest.mark.parametrize("leaving", [False, True])
async def test_the_grant_of_a_user_whom_an_admin_deletes_is_given_up(world, leaving):
    async with world.hub() as hub:
        await log_in(hub, world, ALICE)
        await log_in(hub, world, CAROL)
        needed = [leaving]
        hub.authenticator.sessions_of.append(lambda name: name == "alice" and needed[0])
        token = await refresh_token(hub)
        admins = hub.users[account(hub, "carol")].new_api_token()
        request = HTTPRequest(
            hub.url + "api/users/alice", "DELETE", headers={"Authorization": f"token {admins}"}
        )
        assert (await AsyncHTTPClient().fetch(request)).code == 204
        assert account(hub, "alice") is None
        needed[0] = False
        await hub.authenticator.standing.departures.round()
        assert (await hub.authenticator.shepherd.status("alice")).state == "revoked"
        assert await asyncio.to_thread(refused_by_the_provider, world, token)


def test_the_page_counts_the_sessions_that_go_on():
    assert "One of your sessions goes on" in pages.logged_out("i", sessions=1, given_back=False)
    assert "3 of your sessions go on" in pages.logged_out("i", sessions=3, given_back=False)
