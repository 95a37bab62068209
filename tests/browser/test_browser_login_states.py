"""What people read who cannot go on: at a real hub, with a double of INDIGO IAM's refusals."""

from __future__ import annotations

import secrets

import pytest
from jupyterhub import orm
from playwright.async_api import expect
from roost_authenticator.standing import RENEW_AT
from roost_hub import tokens
from roost_hub.configure import TEMPLATES
from traitlets.config import Config

from tests.support.double_hub import double_hub
from tests.support.iam_double import IamDouble, Member

pytestmark = pytest.mark.browser

STATES = [
    ("unsigned", "A policy waits for your signature", "I have signed it: log in again"),
    ("suspended", "Your account is suspended", "It is active again: log in"),
]


@pytest.fixture
async def double():
    double = IamDouble()
    await double.start()
    yield double
    await double.stop()


def pages():
    config = Config()
    config.JupyterHub.redirect_to_server = False
    config.JupyterHub.template_paths = [str(TEMPLATES)]
    config.JupyterHub.template_vars = {"roost_tokens": tokens.for_pages}
    return config


@pytest.fixture
async def desk(context, double, tmp_path):
    """Return a page, and a hub that lets in members of /cms whose name begins with an a."""

    def account(person, _claims):
        return person.username if person.username.startswith("a") else None

    async with double_hub(
        tmp_path,
        double,
        vault_key=secrets.token_hex(32),
        config=pages(),
        account_hook=account,
        allowed_groups={"/cms"},
    ) as hub:
        yield context.pages[0], hub


async def log_in(page, hub):
    await page.goto(hub.url + "login")
    await page.get_by_role("button", name="Sign in with IAM").click()
    await page.wait_for_load_state()


def user_of(hub, name="alice"):
    return hub.users[hub.db.query(orm.User).filter_by(name=name).one()]


async def let_ask_again(hub):
    """Let the next page ask who alice is by now."""
    user = user_of(hub)
    state = await user.get_auth_state()
    await user.save_auth_state(state | {RENEW_AT: 0.0})
    user._auth_refreshed = 0


async def test_who_has_no_account_copies_with_one_click_what_the_admins_need(desk, double, shot):
    page, hub = desk
    double.become(Member("bob", "2222-bob"))
    await log_in(page, hub)
    await expect(page.get_by_role("heading")).to_contain_text("You have no account here")
    await expect(page.get_by_text("Please ask helpdesk@roost.test")).to_be_visible()
    await page.locator("#roost-quote").click()
    marked = await page.evaluate("window.getSelection().toString()")
    assert marked.split("\n") == [
        f"Please give me an account on {hub.url}.",
        f"Issuer: {double.issuer}",
        "Subject: 2222-bob",
    ]
    await shot(page, "14-login-no-account")
    double.become(Member("alice", "1111-alice"))
    await page.get_by_role("link", name="log in again").click()
    await expect(page).to_have_url(hub.url + "home")


async def test_who_is_in_no_allowed_group_reads_whom_to_ask(desk, double, shot):
    page, hub = desk
    double.person.groups = ["atlas"]
    await log_in(page, hub)
    await shot(page, "14-login-not-allowed")
    await expect(page.get_by_role("heading")).to_contain_text("You may not use this hub")
    await expect(page.get_by_text("helpdesk@roost.test")).to_be_visible()


async def test_a_token_that_does_not_verify_lets_nobody_in(desk, double, shot):
    page, hub = desk
    double.id_token_claims = {"iss": "https://evil.example.org"}
    await log_in(page, hub)
    await shot(page, "14-login-bad-token")
    assert hub.db.query(orm.User).count() == 0


@pytest.mark.parametrize(("state", "title", "way"), STATES)
async def test_the_page_of_who_must_do_something_first_leads_back(
    desk, double, shot, state, title, way
):
    page, hub = desk
    setattr(double.person, state, True)
    await log_in(page, hub)
    await shot(page, f"14-login-{state}")
    await expect(page.get_by_role("heading")).to_contain_text(title)
    setattr(double.person, state, False)
    await page.get_by_role("link", name=way).click()
    await expect(page).to_have_url(hub.url + "home")
    # And again, for who is logged in.
    setattr(double.person, state, True)
    await let_ask_again(hub)
    await page.reload()
    user_of(hub)._auth_refreshed = 0
    await page.goto(hub.url + "token")
    await shot(page, f"14-renewal-{state}")
    await expect(page.get_by_role("heading")).to_contain_text(title)
    setattr(double.person, state, False)
    await page.get_by_role("link", name=way).click()
    await expect(page).to_have_url(hub.url + "token")
