"""What oauthenticator and JupyterHub do alone: the left column of docs/explanation/login.md.

Each test holds a fact about the installed versions.  One that fails after an update is good news:
the table has to be written anew, and perhaps some of our code is not needed any more.
"""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import jwt
import pytest
from oauthenticator.generic import GenericOAuthenticator
from tornado import web
from tornado.httpclient import HTTPClientError

from tests.support.iam_double import IamDouble

pytestmark = pytest.mark.unit


@pytest.fixture
async def double():
    double = IamDouble()
    await double.start()
    yield double
    await double.stop()


def alone(double, **traits):
    by_id_token = traits.get("userdata_from_id_token")
    return GenericOAuthenticator(
        authorize_url=double.issuer + "authorize",
        token_url=double.issuer + "token",
        userdata_url="" if by_id_token else double.issuer + "userinfo",
        client_id=double.client_id,
        client_secret=double.client_secret,
        basic_auth=True,
        username_claim="preferred_username",
        enable_auth_state=True,
        **traits,
    )


def logged_in(double, *, lifetime=120, known=True):
    """Return a user as JupyterHub keeps them, and their grant."""
    double.lifetime = lifetime
    grant = double.login(double.person.subject)
    answer = double.answer(grant.subject, {"scope": "openid"})
    if not known:
        double.bearers.clear()
    token = answer | {"refresh_token": grant.refresh_token}
    state = {"refresh_token": grant.refresh_token, "token_response": token}

    async def get_auth_state():
        return state

    return SimpleNamespace(name="alice", get_auth_state=get_auth_state), grant


def without_header_encoding(double):
    # oauthenticator 17.4 does not form-encode the client's id and secret (RFC 6749, 2.3.1).
    double.client_id, double.client_secret = "hub", "secret"
    return double


async def test_a_two_refreshes_at_once_end_the_grant(double):
    user, grant = logged_in(without_header_encoding(double), known=False)
    double.delay = 0.1
    own = alone(double)
    answers = await asyncio.gather(own.refresh_user(user), own.refresh_user(user))
    assert len(double.refreshes) == 2
    assert False in answers
    assert not grant.alive


async def test_b_a_rotated_refresh_token_is_lost_when_userinfo_fails(double):
    user, grant = logged_in(without_header_encoding(double), known=False)
    before = grant.refresh_token
    double.userinfo_status = 401
    assert await alone(double).refresh_user(user) is False
    assert grant.refresh_token != before  # the new one was in the answer that was dropped
    assert (await user.get_auth_state())["refresh_token"] == before


async def test_c_a_token_that_ends_in_seconds_is_handed_out_as_it_is(double):
    user, _ = logged_in(without_header_encoding(double), lifetime=3)
    model = await alone(double).refresh_user(user)
    assert model["auth_state"]["access_token"] == double.issued[-1]
    assert double.refreshes == []


async def test_d_a_token_endpoint_with_a_problem_is_a_logout(double):
    user, grant = logged_in(without_header_encoding(double), known=False)
    double.fail = (503, "", {})
    assert await alone(double).refresh_user(user) is False
    assert grant.alive


async def test_e_a_provider_that_is_away_is_an_exception(double):
    user, _ = logged_in(without_header_encoding(double))
    await double.stop()
    with pytest.raises((HTTPClientError, OSError)):
        await alone(double).refresh_user(user)


async def test_f_an_id_token_by_anybodys_key_and_issuer_is_taken(double):
    claims = {
        "iss": "https://evil.example.org",
        "sub": "1",
        "aud": double.client_id,
        "exp": time.time() + 60,
        "preferred_username": "root",
    }
    forged = jwt.encode(claims, "k" * 32, algorithm="HS256")
    own = alone(double, userdata_from_id_token=True)
    assert (await own.token_to_user({"id_token": forged}))["preferred_username"] == "root"


async def test_g_an_id_token_that_ended_is_an_error_that_quotes_it(double):
    claims = {"sub": "1", "aud": double.client_id, "exp": time.time() - 60}
    ended = jwt.encode(claims, "k" * 32, algorithm="HS256")
    own = alone(double, userdata_from_id_token=True)
    with pytest.raises(web.HTTPError) as caught:
        await own.token_to_user({"id_token": ended})
    assert ended in str(caught.value)


async def test_j_errors_quote_what_the_provider_said(double):
    own = alone(double)
    with pytest.raises(ValueError, match="words of the provider"):
        own.user_info_to_username({"sub": "words of the provider"})


async def test_k_nothing_is_revoked_and_nothing_discovered():
    traits = GenericOAuthenticator.class_traits()
    assert not any("revo" in name or "issuer" in name for name in traits)


async def test_l_the_refresh_token_is_in_auth_state(double):
    state = alone(double).build_auth_state_dict({"access_token": "a", "refresh_token": "r"}, {})
    assert state["refresh_token"] == "r"
