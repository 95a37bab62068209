"""What the hub's responses tell browsers, on a real hub."""

from __future__ import annotations

import re
from unittest.mock import Mock

import aiohttp
import pytest
from roost_hub.page_security import PageHeaders, secure_pages
from roost_hub.startup import keep_private
from traitlets.config import Config

pytestmark = pytest.mark.hub


@pytest.fixture
def visit(hub):
    """Return a function that logs alice in and returns a page with its headers and cookies."""

    async def ask(path):
        await hub.fetch("POST", "api/users/alice")
        jar = aiohttp.CookieJar(unsafe=True)  # the hub has an address for a name
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            async with session.get(hub.app.url + "login") as answer:
                xsrf = answer.cookies["_xsrf"].value
                cookies = answer.headers.getall("Set-Cookie", [])
            form = {"username": "alice", "password": "", "_xsrf": xsrf}
            login = hub.app.url + "login"
            async with session.post(login, data=form, allow_redirects=False) as answer:
                assert answer.status == 302
                cookies += answer.headers.getall("Set-Cookie", [])
            async with session.get(hub.app.url + path) as answer:
                return await answer.text(), answer.headers, cookies

    return ask


def nonce_of(headers):
    return re.search(r"script-src 'self' 'nonce-([\w-]{20,})'", headers["Content-Security-Policy"])[
        1
    ]


@pytest.mark.parametrize("path", ["home", "spawn", "token", "none-such", "api/"])
async def test_every_response_says_what_a_browser_may_load(visit, path):
    page, headers, _ = await visit(path)
    policy = headers["Content-Security-Policy"]
    for directive in ("default-src 'self'", "object-src 'none'", "frame-ancestors 'none'"):
        assert directive in policy
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "Tornado" not in headers["Server"]
    scripts = re.findall(r"<script[^>]*>", page)
    assert all(f'nonce="{nonce_of(headers)}"' in script for script in scripts), scripts
    assert scripts or path == "api/"


async def test_each_response_has_a_nonce_of_its_own(visit):
    assert nonce_of((await visit("home"))[1]) != nonce_of((await visit("home"))[1])


async def test_cookies_do_not_come_along_from_other_sites(visit):
    _, _, cookies = await visit("home")
    kept = [cookie for cookie in cookies if "expires=" not in cookie or "jupyterhub" in cookie]
    assert any("jupyterhub-hub-login" in cookie for cookie in kept)
    assert [cookie for cookie in kept if "samesite=lax" not in cookie.lower()] == []


def test_a_browser_is_told_to_stay_with_https_where_the_hub_has_it():
    assert "Strict-Transport-Security" in PageHeaders(https=True)
    assert "Strict-Transport-Security" not in PageHeaders(https=False)


def test_a_sites_own_headers_and_settings_go_over_ours():
    c = Config()
    c.JupyterHub.tornado_settings = {"headers": {"Referrer-Policy": "no-referrer"}, "mine": 1}
    c.JupyterHub.jinja_environment_options = {"extensions": ["jinja2.ext.do"]}
    secure_pages(c.JupyterHub, https=True)
    settings = c.JupyterHub.tornado_settings
    assert settings["headers"]["Referrer-Policy"] == "no-referrer"
    assert settings["headers"]["X-Content-Type-Options"] == "nosniff"
    assert settings["mine"] == 1
    assert c.JupyterHub.jinja_environment_options["extensions"][0] == "jinja2.ext.do"


def test_the_database_of_the_hub_is_the_hubs_alone(tmp_path):
    log = Mock()
    files = [tmp_path / f"jupyterhub.sqlite{suffix}" for suffix in ("", "-wal")]
    for file in files:
        file.touch()
        file.chmod(0o644)
    keep_private(f"sqlite:///{files[0]}", log)
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    assert [call.args[1] for call in log.warning.call_args_list] == files
    for url in ("sqlite://", "sqlite:///:memory:", "postgresql://db.example.org/hub"):
        keep_private(url, log)
