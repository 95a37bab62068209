"""Logins through our own double, for what the real provider does not do."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from jupyterhub import orm
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from tests.support.double_hub import double_hub
from tests.support.iam import Browser, Refused
from tests.support.iam_double import NAMESPACE, IamDouble, Member

from .conftest import account, become_due

pytestmark = pytest.mark.hub


@pytest.fixture
async def double():
    double = IamDouble()
    await double.start()
    yield double
    await double.stop()


@pytest.fixture
async def make_hub(double, tmp_path):
    """Start a hub that trusts the double."""
    key = secrets.token_hex(32)
    async with contextlib.AsyncExitStack() as hubs:

        async def start(**traits):
            return await hubs.enter_async_context(
                double_hub(tmp_path, double, vault_key=key, **traits)
            )

        yield start


async def log_in(hub, browser=None):
    """Log in whoever the double lets in."""
    browser = browser or Browser(ssl.get_default_verify_paths().openssl_cafile)

    def go():
        page = browser.step(hub.url + "oauth_login?next=%2Fhub%2Fhome")
        for _ in range(2):
            assert page.location, page.text
            page = browser.step(page.location)
        if page.location is None:
            raise Refused(page.status, page.text)
        return browser

    return await asyncio.to_thread(go)


def get(hub, browser, path="home"):
    return asyncio.to_thread(browser.step, hub.url + path)


def groups(hub, name="alice"):
    hub.db.expire_all()
    return {group.name for group in account(hub, name).groups}


# -- the four profiles -----------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("profile", ["wlcg", "iam", "kc", "aarc"])
async def test_a_login_by_any_profile_gives_the_same_groups_now_and_later(
    make_hub, double, profile, named
):
    double.profile = profile
    traits = {"token_profile": profile} if named else {}
    hub = await make_hub(entitlement_namespace=NAMESPACE, **traits)
    browser = await log_in(hub)
    assert groups(hub) == {"/cms", "/cms/gpu"}
    double.person.groups = ["cms/role=pilot", "atlas"]
    if profile == "aarc":
        double.person.groups = ["cms:role=pilot", "atlas"]
    await become_due(hub, "alice")
    assert (await get(hub, browser)).status == 200
    assert groups(hub) == {"/cms/Role=pilot", "/atlas"}


async def test_ten_thousand_groups_do_not_keep_anybody_out(make_hub, double):
    double.person.groups = [f"g/{n}" for n in range(10_000)]
    hub = await make_hub()
    started = time.monotonic()
    browser = await log_in(hub)
    assert time.monotonic() - started < 15
    assert len(groups(hub)) == 10_000
    assert (await get(hub, browser)).status == 200


# -- accounts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Ann.B-Long_Name.With-32-Letters.", "a.b", "BigAccount", "a" * 32]
)
async def test_names_with_dots_capitals_and_32_letters_are_accounts(make_hub, double, name):
    hub = await make_hub()
    double.become(Member(name, "2222"))
    browser = await log_in(hub)
    assert account(hub, name) is not None
    assert (await get(hub, browser)).status == 200


@pytest.mark.parametrize("name", ["root", "Root", "condor", "slurm", "munge", "0", "a b", "a" * 33])
@pytest.mark.parametrize("source", ["claim", "hook"])
async def test_an_unsafe_account_is_nobodys_whatever_the_source(make_hub, double, name, source):
    traits = {} if source == "claim" else {"account_hook": lambda person, _claims: person.username}
    hub = await make_hub(**traits)
    double.become(Member(name, "2222"))
    with pytest.raises(Refused, match="cannot be used here") as caught:
        await log_in(hub)
    assert caught.value.status == 403
    assert hub.db.query(orm.User).count() == 0


async def test_an_account_by_claim_stays_with_whoever_had_it_first(make_hub, double):
    hub = await make_hub()
    await log_in(hub)
    double.become(Member("alice", "9999-thief"))
    with pytest.raises(Refused, match="belongs to somebody else") as caught:
        await log_in(hub)
    assert caught.value.status == 403
    assert (await hub.authenticator.shepherd.status("alice")).subject == "1111-alice"


async def test_a_hook_may_be_a_coroutine_and_may_know_nobody(make_hub, double):
    async def hook(person, claims):
        await asyncio.sleep(0)
        return "staff" if "/cms" in person.groups else claims.get("uid")

    hub = await make_hub(account_hook=hook)
    await log_in(hub)
    assert account(hub, "staff") is not None
    double.become(Member("bob", "2222-bob", groups=[]))
    with pytest.raises(Refused, match="No account here belongs to"):
        await log_in(hub)


async def test_a_hook_that_fails_is_the_admins_matter_and_not_the_users(make_hub, double, caplog):
    def hook(_person, _claims):
        raise KeyError("s3cret-of-the-directory")

    hub = await make_hub(account_hook=hook)
    with pytest.raises(Refused, match=r"please tell helpdesk@roost\.test") as caught:
        await log_in(hub)
    assert caught.value.status == 503
    assert "s3cret-of-the-directory" not in caught.value.said + caplog.text


async def test_who_has_no_account_can_copy_what_the_admins_need(make_hub, double):
    hub = await make_hub(account_hook=lambda *_: None)
    double.become(Member("eve", "<script>alert(1)</script>"))
    with pytest.raises(Refused) as caught:
        await log_in(hub)
    said = caught.value.said
    assert caught.value.status == 403
    assert "You have no account here" in said
    assert f"Issuer: {double.issuer}" in said
    assert "Subject: &lt;script&gt;alert(1)&lt;/script&gt;" in said
    assert "<script>alert" not in said
    assert "helpdesk@roost.test" in said


# -- states that wait for the user -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "title"),
    [("unsigned", "A policy waits for your signature"), ("suspended", "Your account is suspended")],
)
async def test_an_unsigned_policy_and_a_suspended_account_have_pages_at_login(
    make_hub, double, state, title
):
    hub = await make_hub()
    setattr(double.person, state, True)
    with pytest.raises(Refused) as caught:
        await log_in(hub)
    assert caught.value.status == 403
    assert title in caught.value.said
    assert f'href="{double.issuer}"' in caught.value.said
    setattr(double.person, state, False)
    await log_in(hub)


@pytest.mark.parametrize(
    ("state", "title", "sessions"),
    [
        ("unsigned", "A policy waits for your signature", "Your session goes on"),
        ("suspended", "Your account is suspended", "Your session is being stopped"),
    ],
)
async def test_who_is_logged_in_meets_that_page_too_with_a_way_back(
    make_hub, double, monkeypatch, state, title, sessions
):
    hub = await make_hub()
    browser = await log_in(hub)
    monkeypatch.setattr(hub.authenticator, "count_sessions", lambda _name: 1, raising=False)
    setattr(double.person, state, True)
    user = await become_due(hub, "alice")
    await get(hub, browser)  # asks, and learns it
    user._auth_refreshed = 0
    page = await get(hub, browser)
    assert page.status == 302
    page = await asyncio.to_thread(browser.step, page.location)
    assert (page.status, title in page.text, sessions in page.text) == (403, True, True)
    assert "oauth_login?next=" in page.text
    setattr(double.person, state, False)
    await log_in(hub, browser)
    assert (await get(hub, browser)).status == 200


async def test_a_suspended_accounts_rights_are_gone(make_hub, double):
    hub = await make_hub(admin_groups={"/cms"})
    browser = await log_in(hub)
    assert account(hub, "alice").admin
    double.person.suspended = True
    user = await become_due(hub, "alice")
    await get(hub, browser)
    user._auth_refreshed = 0
    await get(hub, browser)
    assert groups(hub) == set()
    assert not account(hub, "alice").admin


@pytest.mark.parametrize("error", ["access_denied", "server_error", "<b>evil</b>"])
async def test_no_word_of_the_provider_is_on_the_page_of_a_login_that_it_refused(
    make_hub, double, caplog, error
):
    hub = await make_hub()
    double.refuses_login = (error, "words of the provider")
    with pytest.raises(Refused, match="did not let you in") as caught:
        await log_in(hub)
    assert caught.value.status == 403
    assert "<b>evil" not in caught.value.said
    assert "words of the provider" not in caught.value.said + caplog.text


# -- renewal of claims -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_a_userinfo_endpoint_that_refuses_judges_nobody(make_hub, double, status):
    hub = await make_hub(allowed_groups={"/cms"})
    browser = await log_in(hub)
    double.userinfo_status = status
    double.person.groups = []
    await become_due(hub, "alice")
    assert (await get(hub, browser)).status == 200
    assert double.userinfo_asked == 1
    assert groups(hub) == {"/cms", "/cms/gpu"}


async def test_with_tokens_that_end_at_each_refresh_claims_are_renewed_all_the_same(
    make_hub, double
):
    double.clear_on_refresh = True
    hub = await make_hub()
    browser = await log_in(hub)
    double.person.groups = ["atlas"]
    await become_due(hub, "alice")
    await get(hub, browser)
    assert groups(hub) == {"/atlas"}


async def test_claims_are_not_asked_for_before_the_tokens_deadline(make_hub, double):
    double.lifetime = 300
    hub = await make_hub()
    browser = await log_in(hub)
    for _ in range(5):
        hub.users[account(hub, "alice")]._auth_refreshed = 0
        assert (await get(hub, browser)).status == 200
    assert double.userinfo_asked == 0
    assert double.refreshes == []


async def test_a_hundred_requests_at_once_are_one_question(make_hub, double):
    hub = await make_hub()
    browser = await log_in(hub)
    double.delay = 0.3
    await become_due(hub, "alice")
    with ThreadPoolExecutor(100) as threads:
        run = asyncio.get_running_loop().run_in_executor
        home = (threads, browser.step, hub.url + "home")
        answers = await asyncio.gather(*(run(*home) for _ in range(100)))
    assert {answer.status for answer in answers} == {200}
    assert (len(double.refreshes), double.userinfo_asked) == (1, 1)


async def test_no_token_is_in_a_log_or_in_auth_state_after_a_renewal(make_hub, double, caplog):
    hub = await make_hub()
    browser = await log_in(hub)
    user = await become_due(hub, "alice")
    await get(hub, browser)
    double.userinfo_status = 401  # its error quotes the token
    await become_due(hub, "alice")
    await get(hub, browser)
    haystack = caplog.text + str(await user.get_auth_state())
    assert len(double.issued) >= 4
    assert not any(secret in haystack for secret in (*double.issued, double.client_secret))


# -- cases of docs/explanation/login.md that no other test holds -----------------------------------


async def test_a_userinfo_call_that_fails_loses_no_rotated_refresh_token(make_hub, double):
    hub = await make_hub()
    browser = await log_in(hub)
    double.userinfo_status = 401
    await become_due(hub, "alice")
    assert (await get(hub, browser)).status == 200
    assert len(double.refreshes) == 1
    token = await hub.authenticator.shepherd.access_token(
        "alice", audience="https://ap.roost.test:9618", scopes=["compute.read"]
    )
    assert token.value
    assert double.grants[-1].alive


async def test_a_token_endpoint_with_a_problem_logs_nobody_out(make_hub, double):
    hub = await make_hub()
    browser = await log_in(hub)
    double.fail = (503, "", {})
    for _ in range(3):
        await become_due(hub, "alice")
        assert (await get(hub, browser)).status == 200
    double.fail = None


async def test_a_program_of_the_user_is_served_while_the_provider_is_away(make_hub, double):
    hub = await make_hub()
    await log_in(hub)
    token = hub.users[account(hub, "alice")].new_api_token(note="the user's server")
    await double.stop()
    await become_due(hub, "alice")
    request = HTTPRequest(hub.url + "api/user", headers={"Authorization": f"token {token}"})
    answer = await AsyncHTTPClient().fetch(request, raise_error=False)
    assert answer.code == 200
    await double.start()


async def test_without_auth_refresh_age_tokens_are_renewed_all_the_same(make_hub, double):
    double.lifetime = 3
    hub = await make_hub(auth_refresh_age=0)
    await log_in(hub)
    shepherd = hub.authenticator.shepherd
    want = {"audience": "https://ap.roost.test:9618", "scopes": ["compute.read"]}
    first = await shepherd.access_token("alice", **want)
    await asyncio.sleep(3.1)
    second = await shepherd.access_token("alice", **want)
    assert second.value != first.value
    assert second.expires_at > time.time()
