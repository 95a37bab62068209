"""No token that is good for more than was asked for is handed out."""

from __future__ import annotations

import base64
import json

import pytest
from roost_shepherd.errors import TokenExceeds
from roost_shepherd.given import require_no_more
from roost_shepherd.vault.models import GrantState
from roost_shepherd.vault.records import StoredToken, Want

pytestmark = pytest.mark.unit

AP = "https://ap.example.org:9618"
IAM = "https://iam.example.org/"
ANY = "https://wlcg.cern.ch/jwt/v1/any"


def jwt(**claims) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"


def judge(value, *, asked="compute.read", audience=AP, answered=""):
    token = StoredToken(value, frozenset(answered.split()), 1.0, 2.0, 3.0, taken=True)
    require_no_more(Want(audience, frozenset(asked.split())), token, IAM)


@pytest.mark.parametrize(
    ("claims", "more"),
    [
        ({"aud": AP, "scope": "compute.read"}, {}),
        ({"aud": [AP], "scope": ["compute.read"]}, {}),
        ({"aud": AP}, {"answered": "compute.read"}),
        ({"aud": AP, "scp": ["compute.read"]}, {}),
        ({"scope": "compute.read"}, {}),
        ({"aud": None, "scope": None}, {}),
        ({"aud": AP, "scope": ""}, {"answered": ""}),
        ({"aud": ANY, "scope": "compute.read"}, {"audience": ""}),
        ({"aud": AP, "scope": "a b c"}, {"asked": ""}),
        ({"aud": AP, "scope": "storage.read:/cms/x"}, {"asked": "storage.read:/cms"}),
        ({"aud": AP, "scope": "wlcg.groups:/cms"}, {"asked": "wlcg.groups"}),
    ],
)
def test_what_was_asked_for_or_less_is_taken(claims, more):
    judge(jwt(**claims), **more)


@pytest.mark.parametrize(
    ("claims", "more", "named"),
    [
        ({"aud": ANY}, {}, f"the audience {ANY}\\. "),
        ({"aud": [AP, ANY]}, {}, f"the audience {ANY}\\. "),
        ({"aud": [AP, 7, {"x": 1}]}, {}, "the audience 7, "),
        ({"aud": f"{AP}/"}, {}, f"the audience {AP}/"),
        ({"aud": AP, "scope": "compute.read compute.create"}, {}, "the scope compute.create"),
        ({"aud": AP, "scope": ["compute.cancel"]}, {}, "the scope compute.cancel"),
        ({"aud": AP, "scp": "x"}, {}, "the scope x"),
        ({"aud": AP}, {"answered": "compute.read y"}, "the scope y"),
        ({"scope": "storage.read:/"}, {"asked": "storage.read:/cms"}, "the scope storage.read:/"),
        ({"scope": "storage.read:/cms/../x"}, {"asked": "storage.read:/cms"}, "the scope storage"),
        ({"scope": "storage.modify:/a"}, {"asked": "storage.read:/"}, "the scope storage.modify"),
        ({"aud": ANY, "scope": "x"}, {}, f"the audience {ANY} and the scope x"),
        ({"scope": " ".join(f"s{n}" for n in range(10**4))}, {}, "and 9995 more"),
        ({"aud": "s" * 4000}, {}, "the audience \\(no name\\)"),
        ({"aud": "line\n<b>"}, {}, "the audience \\(no name\\)"),
    ],
)
def test_more_is_refused_and_named(claims, more, named):
    value = jwt(**claims)
    with pytest.raises(TokenExceeds, match=named) as caught:
        judge(value, **more)
    assert value not in str(caught.value)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("value", ["opaque", "a.b.c", "..", "e30." + "W" * 10**6 + ".x", "é.é.é"])
def test_of_an_opaque_token_the_answers_scopes_are_compared(value):
    judge(value, answered="compute.read")
    with pytest.raises(TokenExceeds, match=r"compute\.create"):
        judge(value, answered="compute.read compute.create")


def test_claims_that_are_nested_without_end_are_no_claims():
    deep = base64.urlsafe_b64encode(b"[" * 100_000).decode().rstrip("=")
    judge(f"e30.{deep}.x", answered="compute.read")


# -- with the vault and the provider -------------------------------------------------------------


def take(shepherd):
    return shepherd.access_token("alice", audience=AP, scopes=["compute.read"])


@pytest.fixture
def generous(double, monkeypatch):
    """Have the double give more than was asked for."""
    real = double.claims
    more = {}
    monkeypatch.setattr(double, "claims", lambda *args: real(*args) | more)
    return more


async def test_what_exceeds_is_not_handed_out_and_the_grant_lives_on(
    shepherd, double, log_in, generous
):
    await log_in(shepherd)
    generous["aud"] = [AP, ANY]
    for _ in range(2):
        with pytest.raises(TokenExceeds, match=ANY):
            await take(shepherd)
    assert len(double.refreshes) == 1  # the rotated refresh token is in the vault
    generous.clear()
    other = await shepherd.access_token("alice", audience="https://other", scopes=["compute.read"])
    assert other.audience == "https://other"
    assert (await shepherd.status("alice")).state is GrantState.LIVE


async def test_what_an_earlier_run_left_in_the_vault_is_compared_too(
    make_shepherd, log_in, generous, monkeypatch
):
    first = make_shepherd()
    await log_in(first)
    generous["scope"] = "compute.read compute.create"
    with monkeypatch.context() as patch:
        patch.setattr("roost_shepherd.shepherd.require_no_more", lambda *args: None)
        await take(first)
    await first.stop()
    with pytest.raises(TokenExceeds, match=r"compute\.create"):
        await take(make_shepherd())


async def test_the_hubs_own_token_is_compared_too(shepherd, generous):
    generous["aud"] = ANY
    with pytest.raises(TokenExceeds, match=ANY):
        await shepherd.service_token(audience=AP, scopes=["compute.read"])
