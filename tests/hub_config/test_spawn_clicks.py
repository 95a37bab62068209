"""*Start*, clicked more than once or with a choice that is refused, on a real hub."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import aiohttp
import pytest
from roost_hub import startup
from yarl import URL

pytestmark = pytest.mark.hub


@pytest.fixture
async def tab(hub):
    """Return a function that sends the form of the spawn page as alice; status and new address."""
    await startup.begin(hub.app, Path(hub.app.config.RoostSpawner.site_file))
    await hub.fetch("POST", "api/users/alice")
    jar = aiohttp.CookieJar(unsafe=True)  # the hub has an address for a name
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        async with session.get(hub.app.url + "login") as answer:
            form = {"username": "alice", "password": "", "_xsrf": answer.cookies["_xsrf"].value}
        login = hub.app.url + "login"
        async with session.post(login, data=form, allow_redirects=False) as answer:
            assert answer.status == 302

        async def click(server="", **options):
            if options.pop("link", False):
                url = URL(hub.app.url + "spawn/alice").with_query(options)
                async with session.get(url, allow_redirects=False) as answer:
                    return answer.status, answer.headers.get("Location", ""), await answer.text()
            url = hub.app.url + "spawn/alice" + (f"/{server}" if server else "")
            # The cookie of a user who is logged in is another than the one before.
            cookies = jar.filter_cookies(URL(hub.app.url))
            body = {"profile": "interactive", "_xsrf": cookies["_xsrf"].value} | options
            async with session.post(
                url, data=body, headers={"Referer": url}, allow_redirects=False
            ) as answer:
                return answer.status, answer.headers.get("Location", ""), await answer.text()

        yield click


@pytest.mark.parametrize("server", ["", "two"])
async def test_two_clicks_at_once_lead_to_one_start(hub, tab, server):
    clicks = await asyncio.gather(*(tab(server) for _ in range(4)))
    there = "/hub/spawn-pending/alice" + (f"/{server}" if server else "")
    assert {(status, place.rstrip("/")) for status, place, _ in clicks} == {(302, there)}
    late = await tab(server)
    assert late[0] == 302
    assert len(hub.pool.requests) <= 1


async def test_a_login_that_is_slow_to_renew_leads_to_a_start_that_has_begun(hub, tab, monkeypatch):
    async def renew(*_):
        await asyncio.sleep(1.2)  # more than JupyterHub waits for a start to fail
        return True

    monkeypatch.setattr(hub.app.authenticator, "refresh_user", renew)
    monkeypatch.setattr(hub.app.authenticator, "refresh_pre_spawn", True)
    status, _, _ = await tab()
    assert status == 302
    assert hub.spawner().active


async def test_a_login_that_has_ended_starts_nothing(hub, tab, monkeypatch):
    async def renew(*_):
        return False

    monkeypatch.setattr(hub.app.authenticator, "refresh_user", renew)
    monkeypatch.setattr(hub.app.authenticator, "refresh_pre_spawn", True)
    status, place, _ = await tab()
    assert "spawn-pending" not in place, status
    assert not hub.spawner().active
    assert hub.pool.requests == []


async def test_a_click_for_a_server_that_runs_leads_to_it(hub, tab):
    hub.pool.run_for_real = True
    await tab()
    await hub.settled()
    status, place, _ = await tab()
    assert (status, place.rstrip("/")) == (302, "/hub/spawn-pending/alice")
    assert len(hub.pool.requests) == 1


async def test_a_refused_choice_is_one_line_in_the_log_and_forges_none(hub, tab, caplog):
    caplog.set_level(logging.INFO)
    status, _, page = await tab(walltime="90d\n[E] forged")
    assert status == 400
    assert "2h" in page
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not any(record.exc_info for record in errors)
    assert any("90d" in record.getMessage() for record in errors), errors
    assert not any("\n" in record.getMessage() for record in errors)


async def test_what_nobody_foresaw_keeps_its_traceback(hub, tab, caplog, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(hub.app.spawner_class, "_from_form", broken)
    await tab("new")
    assert any(record.exc_info for record in caplog.records if record.levelno >= logging.ERROR)


async def test_a_link_starts_a_server_and_shares_no_tokens(hub, tab):
    choice = {"opt-profile": "interactive"}
    status, _, page = await tab(link=True, **choice, **{"opt-share_tokens": "yes"})
    assert status == 400
    assert "A link cannot share your access tokens" in page
    assert hub.pool.requests == []
    status, _, _ = await tab(link=True, **choice)
    assert status == 302
    assert not hub.spawner().session.record.share_tokens
