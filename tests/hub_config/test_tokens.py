"""How a user's grant stands, on the home page and for programs."""

from __future__ import annotations

import re
import time

import aiohttp
import pytest
from roost_hub import tokens
from roost_shepherd.errors import VaultUnusable
from roost_shepherd.shepherd import GrantStatus
from roost_shepherd.vault.models import GrantState

NOW = 1_795_269_600.0  # 2026-11-21 14:00 UTC
IAM = "https://iam.example.org/"
PATH = "api/roost/v1/tokens/alice"


def said(state, monkeypatch, **values):
    monkeypatch.setattr(tokens.time, "gmtime", lambda at=NOW: gmtime(at))
    found = tokens.health(GrantStatus(state, issuer=IAM, **values), NOW)
    return found.level, found.text


gmtime = time.gmtime


@pytest.mark.unit
@pytest.mark.parametrize(
    ("state", "values", "level", "text"),
    [
        (GrantState.LIVE, {}, "info", ""),
        (GrantState.NONE, {}, "info", ""),
        (
            GrantState.LIVE,
            {"good_until": NOW + 1920},
            "info",
            "Your token is good until 14:32 UTC and is renewed before.",
        ),
        (
            GrantState.LIVE,
            {"login_until": NOW + 86400},
            "warning",
            "Your login ends at 2026-11-22 14:00 UTC: log in again before.",
        ),
        (GrantState.LIVE, {"login_until": NOW + 30 * 86400}, "info", ""),
        (
            GrantState.RETRYING,
            {"good_until": NOW + 1920, "failing_since": NOW - 600},
            "warning",
            "Your token is good until 14:32 UTC; iam.example.org does not answer since 13:50 UTC.",
        ),
        (
            GrantState.RETRYING,
            {"good_until": NOW - 60, "failing_since": NOW - 600},
            "danger",
            "Your token has ended at 13:59 UTC; iam.example.org does not answer since 13:50 UTC.",
        ),
        (
            GrantState.RETRYING,
            {"failing_since": NOW - 600},
            "danger",
            "You have no token: iam.example.org does not answer since 13:50 UTC.",
        ),
        (
            GrantState.NEEDS_LOGIN,
            {"last_error": "Your login at the IAM has ended; please log in again."},
            "danger",
            "Your login at the IAM has ended; please log in again.",
        ),
        (
            GrantState.AUP_REQUIRED,
            {"last_error": "Please sign the policy.", "good_until": NOW + 1920},
            "danger",
            "Please sign the policy. Until 14:32 UTC the token that you have is good.",
        ),
    ],
)
def test_each_state_of_a_grant_has_its_sentence(state, values, level, text, monkeypatch):
    assert said(state, monkeypatch, **values) == (level, text)


@pytest.mark.unit
def test_a_page_shows_times_as_times():
    late = GrantStatus(GrantState.RETRYING, issuer=IAM, good_until=NOW, failing_since=NOW - 1)
    pieces = tokens.health(late, NOW - 5).pieces
    assert [at for _, at in pieces if at] == ["2026-11-21T14:00:00Z", "2026-11-21T13:59:59Z"]


def fail(hub):
    now = time.time()
    status = GrantStatus(
        GrantState.RETRYING,
        subject="s",
        issuer=IAM,
        good_until=now + 1920,
        login_until=now + 86400,
        failing_since=now - 600,
        last_error="iam.example.org does not answer at the moment.",
    )

    async def told(owner):
        assert owner == "alice"
        return status

    hub.shepherd.status = told
    return status


@pytest.mark.hub
async def test_the_owner_reads_how_the_grant_stands_and_so_do_the_owners_servers(hub):
    await hub.submitted()
    status = fail(hub)
    for token in (hub.app.users["alice"].new_api_token(), hub.spawner().api_token, hub.token):
        code, answer = await hub.fetch("GET", PATH, token=token)
        assert code == 200
        assert (answer["state"], answer["good_until"]) == ("retrying", status.good_until)
        assert answer["failing_since"] == status.failing_since
        assert answer["login_until"] == status.login_until
        assert answer["last_error"] == status.last_error
        assert re.fullmatch(
            r"Your token is good until [-\d ]*\d\d:\d\d UTC; "
            r"iam\.example\.org does not answer since [-\d ]*\d\d:\d\d UTC\.",
            answer["message"],
        )


@pytest.mark.hub
async def test_nobody_else_reads_it_and_no_page_of_another_site(hub):
    await hub.submitted()
    await hub.submitted("bob")
    for token in (hub.app.users["bob"].new_api_token(), hub.spawner("bob").api_token):
        assert (await hub.fetch("GET", PATH, token=token))[0] == 403
    assert (await hub.fetch("GET", PATH, token=None))[0] in (401, 403)
    assert (await hub.fetch("GET", "api/roost/v1/tokens/nobody"))[0] == 404
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    assert (await hub.fetch("GET", PATH, headers=headers))[0] == 403


@pytest.mark.hub
async def test_a_vault_that_cannot_be_read_is_a_sentence(hub):
    await hub.submitted()

    async def broken(owner):
        raise VaultUnusable("The vault cannot be read.", detail="a path of the hub's")

    hub.shepherd.status = broken
    code, answer = await hub.fetch("GET", PATH)
    assert (code, answer["message"]) == (503, "The vault cannot be read.")


@pytest.mark.hub
async def test_the_home_page_says_the_same(hub):
    hub.app.tornado_application.settings["template_vars"]["roost_tokens"] = tokens.for_pages
    from roost_hub.configure import TEMPLATES  # noqa: PLC0415

    for name in ("jinja2_env", "jinja2_env_sync"):
        loader = hub.app.tornado_application.settings[name].loader
        loader.loaders[-1].searchpath.insert(0, str(TEMPLATES))
    fail(hub)
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(hub.app.url + "login") as answer:
            xsrf = re.search(r'name="_xsrf" value="([^"]+)"', await answer.text())[1]
        form = {"username": "alice", "password": "x", "_xsrf": xsrf}
        async with browser.post(hub.app.url + "login", data=form, allow_redirects=False) as answer:
            assert answer.status == 302
        async with browser.get(hub.app.url + "home") as answer:
            page = await answer.text()
    shown = page.partition('id="roost-tokens"')[2].partition("</div>")[0]
    assert "alert-warning" in shown
    text = " ".join(re.sub(r"<[^>]*>", "", shown.partition(">")[2]).split())
    _, told = await hub.fetch("GET", PATH)
    assert text == told["message"]
    assert len(re.findall(r'<time class="roost-time" datetime="20\d\d-[^"]+Z">', shown)) == 2
