"""Groups and admin rights follow the provider while a login lives."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from jupyterhub import orm
from roost_authenticator import blocks
from roost_authenticator.standing import RENEW_AT
from roost_shepherd import audit
from roost_shepherd.pace import Pace

from tests.support.iam import Refused

from .conftest import ALICE, CAROL, STRANGER, account, become_due, log_in

pytestmark = pytest.mark.hub


def get(hub, browser, path="home"):
    return asyncio.to_thread(browser.step, hub.url + path)


def groups(hub, name):
    hub.db.expire_all()
    return {group.name for group in account(hub, name).groups}


def pretend_session(user, monkeypatch):
    """Give a user a server that counts as running."""
    spawner = user.spawners[""]
    monkeypatch.setattr(type(spawner), "active", property(lambda self: self.__dict__.get("up")))
    spawner.__dict__["up"] = True
    return spawner


def note_stops(spawner, monkeypatch):
    """Stop that server without a job; return the list of what is stopped."""
    stopped = []

    async def stop(handler, stopping, name=""):
        stopped.append((stopping.name, name))
        spawner.__dict__["up"] = False

    monkeypatch.setattr("jupyterhub.handlers.base.BaseHandler.stop_single_user", stop)
    return stopped


async def test_groups_are_the_providers_at_the_next_renewal(world):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        world.set_groups(ALICE, "/roost", "/cms")
        await get(hub, browser)
        assert groups(hub, "alice") == {"/roost", "/roost/users"}  # not before it is time
        user = await become_due(hub, "alice")
        assert (await get(hub, browser)).status == 200
        assert groups(hub, "alice") == {"/roost", "/cms"}
        state = await user.get_auth_state()
        assert state[RENEW_AT] > time.time()
        assert not any("token" in name for name in state)


async def test_a_hundred_requests_at_once_cost_one_refresh(world):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        await become_due(hub, "alice")
        before = world.refreshes(ALICE)
        with ThreadPoolExecutor(100) as threads:
            run = asyncio.get_running_loop().run_in_executor
            home = (threads, browser.step, hub.url + "home")
            answers = await asyncio.gather(*(run(*home) for _ in range(100)))
        assert {answer.status for answer in answers} == {200}
        assert world.refreshes(ALICE) == before + 1
        await become_due(hub, "alice")
        await get(hub, browser)
        assert world.refreshes(ALICE) == before + 1  # the token for it is still fresh


async def test_an_admin_who_left_the_admins_group_is_none_at_the_next_renewal(world):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, CAROL)
        world.set_groups(CAROL, "/roost")
        await become_due(hub, "carol")
        assert (await get(hub, browser)).status == 200
        hub.db.expire_all()
        assert not account(hub, "carol").admin
        assert "admin" not in {role.name for role in account(hub, "carol").roles}


async def test_who_is_in_no_allowed_group_any_more_is_out(world):
    async with world.hub(allowed_groups={"/roost/users"}) as hub:
        browser, _ = await log_in(hub, world, ALICE)
        user = hub.users[account(hub, "alice")]
        powerful = user.new_api_token(note="my script")
        world.set_groups(ALICE, "/roost")
        await become_due(hub, "alice")
        home = await get(hub, browser)
        assert home.status == 302
        assert "/hub/login" in home.location
        hub.db.expire_all()
        assert orm.APIToken.find(hub.db, powerful) is None
        assert groups(hub, "alice") == {"/roost"}
        # No session needs the grant, so it is given up.
        assert (await hub.authenticator.shepherd.status("alice")).state == "revoked"


@pytest.mark.parametrize("setting", ["stop", "keep"])
async def test_sessions_of_who_is_out_are_stopped_or_kept(world, monkeypatch, setting):
    async with world.hub(allowed_groups={"/roost/users"}, on_loss_of_access=setting) as hub:
        browser, _ = await log_in(hub, world, ALICE)
        user = hub.users[account(hub, "alice")]
        spawner = pretend_session(user, monkeypatch)
        servers_own = user.new_api_token(
            note="Server at /", scopes=["access:servers!server=alice/", "users:activity!user=alice"]
        )
        stopped = note_stops(spawner, monkeypatch)
        world.set_groups(ALICE, "/roost")
        await become_due(hub, "alice")
        assert (await get(hub, browser)).status == 302
        await hub.authenticator.standing.removal.settle()
        assert stopped == ([("alice", "")] if setting == "stop" else [])
        # What the session itself holds stays, as does the grant while it runs.
        hub.db.expire_all()
        assert orm.APIToken.find(hub.db, servers_own) is not None
        departures = hub.authenticator.standing.departures
        if setting == "keep":
            assert (await hub.authenticator.shepherd.status("alice")).state == "live"
            spawner.__dict__["up"] = False
        await departures.round()
        assert (await hub.authenticator.shepherd.status("alice")).state == "revoked"


async def test_who_lost_their_line_of_the_map_file_is_out(world):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        world.map_file.write_text(f"SCITOKENS {world.iam.issuer},{CAROL.subject} carol\n")
        await become_due(hub, "alice")
        assert (await get(hub, browser)).status == 302


async def test_a_map_file_that_cannot_be_read_takes_nothing_from_anybody(world):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        world.map_file.write_text("SCITOKENS nonsense\n")
        await become_due(hub, "alice")
        assert (await get(hub, browser)).status == 200
        assert groups(hub, "alice") == {"/roost", "/roost/users"}


async def test_while_the_provider_is_away_groups_stay_as_they_are(world, provider_away):
    async with world.hub(allowed_groups={"/roost/users"}) as hub:
        browser, _ = await log_in(hub, world, ALICE)
        with provider_away():
            for _ in range(3):
                await become_due(hub, "alice")
                assert (await get(hub, browser)).status == 200
        assert groups(hub, "alice") == {"/roost", "/roost/users"}


async def test_a_page_does_not_wait_for_a_provider_that_hangs(world, monkeypatch):
    monkeypatch.setattr("roost_authenticator.freshness.PATIENCE", 0.2)
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        shepherd = hub.authenticator.shepherd
        ask, answered = shepherd.userinfo, asyncio.Event()

        async def slow(*arguments):
            await answered.wait()
            return await ask(*arguments)

        monkeypatch.setattr(shepherd, "userinfo", slow)
        world.set_groups(ALICE, "/cms")
        await become_due(hub, "alice")
        assert (await get(hub, browser)).status == 200
        assert groups(hub, "alice") == {"/roost", "/roost/users"}
        answered.set()
        while hub.authenticator.standing.freshness._tasks:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)
        # What came too late for that page counts for the next.
        hub.users[account(hub, "alice")]._auth_refreshed = 0
        await get(hub, browser)
        assert groups(hub, "alice") == {"/cms"}


async def test_a_hub_that_ends_asks_no_more_and_leaves_the_vault_closed(world, monkeypatch):
    monkeypatch.setattr("roost_authenticator.freshness.PATIENCE", 0.2)
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        authenticator, opened = hub.authenticator, []

        async def slow(*_):
            try:
                await asyncio.sleep(60)
            finally:
                opened.append(authenticator.shepherd._renewals is not None)

        monkeypatch.setattr(authenticator.shepherd, "userinfo", slow)
        await become_due(hub, "alice")
        assert (await get(hub, browser)).status == 200
        assert opened == []
    assert opened == [True]  # given up before that is closed which it would open again
    assert authenticator.shepherd._renewals is None


async def test_an_answer_about_somebody_else_is_not_used(world, monkeypatch):
    async with world.hub() as hub:
        browser, _ = await log_in(hub, world, ALICE)
        shepherd = hub.authenticator.shepherd

        async def wrong(*_):
            claims = {"sub": CAROL.subject, "wlcg.groups": ["/roost/admins"]}
            return SimpleNamespace(claims=claims, renew_at=time.time() + 60)

        monkeypatch.setattr(shepherd, "userinfo", wrong)
        await become_due(hub, "alice")
        assert (await get(hub, browser)).status == 200
        assert groups(hub, "alice") == {"/roost", "/roost/users"}


async def test_a_provider_that_tells_nobodys_groups_throws_nobody_out(world, monkeypatch):
    async with world.hub(allowed_groups={"/roost/users"}) as hub:
        browser, _ = await log_in(hub, world, ALICE)
        shepherd = hub.authenticator.shepherd

        async def bare(*_):
            return SimpleNamespace(claims={"sub": ALICE.subject}, renew_at=time.time() + 60)

        monkeypatch.setattr(shepherd, "userinfo", bare)
        await become_due(hub, "alice")
        assert (await get(hub, browser)).status == 200
        assert groups(hub, "alice") == {"/roost", "/roost/users"}


async def test_who_is_out_and_says_nothing_loses_the_session_at_the_next_look(world, monkeypatch):
    async with world.hub(allowed_groups={"/roost/users"}, on_loss_of_access="stop") as hub:
        await log_in(hub, world, ALICE)
        user = hub.users[account(hub, "alice")]
        spawner = pretend_session(user, monkeypatch)
        stopped = note_stops(spawner, monkeypatch)
        sweep = hub.authenticator.sweep
        world.set_groups(ALICE, "/roost")
        await sweep.round(hub)
        assert stopped == []  # the provider's word is fresh
        await become_due(hub, "alice")
        await sweep.round(hub)
        await hub.authenticator.standing.removal.settle()
        assert stopped == [("alice", "")]
        assert groups(hub, "alice") == {"/roost"}


async def test_groups_follow_the_provider_in_a_session_that_says_nothing(world, monkeypatch):
    async with world.hub() as hub:
        await log_in(hub, world, ALICE)
        pretend_session(hub.users[account(hub, "alice")], monkeypatch)
        world.set_groups(ALICE, "/roost", "/cms")
        user = await become_due(hub, "alice")
        await hub.authenticator.sweep.round(hub)
        assert groups(hub, "alice") == {"/roost", "/cms"}
        assert (await user.get_auth_state())[RENEW_AT] > time.time()


async def test_a_provider_that_is_away_ends_nobodys_session(world, monkeypatch):
    async with world.hub(allowed_groups={"/roost/users"}) as hub:
        await log_in(hub, world, ALICE)
        user = await become_due(hub, "alice")
        pretend_session(user, monkeypatch)
        world.iam.fail = (503, "", {})
        await hub.authenticator.sweep.round(hub)
        assert await hub.authenticator.may_have_tokens(user, None)
        assert groups(hub, "alice") == {"/roost", "/roost/users"}


async def test_a_session_gets_tokens_on_a_word_of_the_provider_that_is_a_minute_old(
    world, monkeypatch
):
    async with world.hub(allowed_groups={"/roost/users"}) as hub:
        await log_in(hub, world, ALICE)
        user = hub.users[account(hub, "alice")]
        world.set_groups(ALICE, "/roost")
        may = hub.authenticator.may_have_tokens
        assert await may(user, None)  # the login was just now
        monkeypatch.setattr("roost_authenticator.authenticator.TOKENS_WITHIN", 0.0)
        assert not await may(user, None)


async def test_who_is_blocked_loses_session_tokens_and_login_until_unblocked(world, monkeypatch):
    file = world.folder / "blocked.json"
    # `keep` is for those who leave; who is blocked goes at once.
    async with world.hub(block_file=str(file), on_loss_of_access="keep") as hub:
        browser, _ = await log_in(hub, world, ALICE)
        user = hub.users[account(hub, "alice")]
        spawner = pretend_session(user, monkeypatch)
        stopped = note_stops(spawner, monkeypatch)
        assert await hub.authenticator.may_have_tokens(user, None)
        blocks.block(file, "alice", "mines\ncoins")
        assert blocks.read(file)["alice"].reason == "mines coins"
        assert not await hub.authenticator.may_have_tokens(user, None)
        await hub.authenticator.sweep.round(hub)
        await hub.authenticator.standing.removal.settle()
        assert stopped == [("alice", "")]
        assert (await get(hub, browser)).status == 302
        with pytest.raises(Refused) as refused:
            await log_in(hub, world, ALICE)
        assert refused.value.status == 403
        await log_in(hub, world, CAROL)
        file.write_text("{")  # damaged: who was blocked still is
        assert "alice" in hub.authenticator.blocks
        file.write_text('{"alice": {"at": 1.0, "reason": ""}}')
        assert blocks.unblock(file, "alice")
        await log_in(hub, world, ALICE)


async def test_a_block_outlives_the_hub_and_can_be_made_while_it_is_down(world):
    file = world.folder / "blocked.json"
    blocks.block(file, "alice")
    async with world.hub(block_file=str(file)) as hub:
        with pytest.raises(Refused):
            await log_in(hub, world, ALICE)


async def test_logins_of_one_address_beyond_the_rate_are_told_when_to_come_again(
    world, monkeypatch
):
    monkeypatch.setattr("roost_authenticator.handlers.LOGINS", Pace(3, 60.0))
    async with world.hub() as hub:
        await log_in(hub, world, ALICE)  # two steps
        with pytest.raises(Refused) as refused:
            await log_in(hub, world, CAROL)
        assert refused.value.status == 429
        assert "Too many logins come from your address." in str(refused.value)


async def test_logins_and_refusals_stand_in_the_audit_log_without_secrets(world, tmp_path):
    path = tmp_path / "audit.log"
    close = audit.open_log(path)
    try:
        async with world.hub() as hub:
            await log_in(hub, world, ALICE)
            with pytest.raises(Refused):
                await log_in(hub, world, STRANGER)
    finally:
        close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["event"], line.get("user")) for line in lines] == [
        ("login", "alice"),
        ("login_refused", None),
    ]
    assert lines[1]["subject"] == STRANGER.subject
    assert all(line["address"] == "127.0.0.1" for line in lines)
    assert path.stat().st_mode & 0o777 == 0o600
    assert world.client.client_secret not in path.read_text()
