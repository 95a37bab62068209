from __future__ import annotations

from types import SimpleNamespace

import pytest
from roost_authenticator.authenticator import BASE_SCOPES, CLUSTER_SCOPES, IAMOAuthenticator
from roost_authenticator.handlers import nonce_of
from roost_shepherd.errors import ProviderUnreachable, VaultUnusable
from traitlets import TraitError
from traitlets.config import Config

pytestmark = pytest.mark.unit

NEEDED = {
    "issuer": "https://iam.example.org",
    "client_id": "hub",
    "client_secret": "secret",
    "map_file": "/etc/roost/mapfile",
}


def make(**traits):
    return IAMOAuthenticator(**(NEEDED | traits))


@pytest.mark.parametrize("name", NEEDED)
def test_what_has_no_default_is_asked_for_by_name(name):
    with pytest.raises(TraitError, match=name):
        make(**{name: ""})


@pytest.mark.parametrize("issuer", ["http://iam.example.org", "iam.example.org", "https://"])
def test_an_issuer_without_tls_is_refused(issuer):
    with pytest.raises(TraitError, match="https://"):
        make(issuer=issuer)


@pytest.mark.parametrize("more", [{"account_claim": "uid"}, {"account_hook": lambda *_: "a"}])
def test_two_sources_of_accounts_are_one_too_many(more):
    with pytest.raises(TraitError, match="set is: map_file and account_"):
        make(**more)
    make(map_file="", **more)


def test_without_any_source_of_accounts_the_hub_does_not_start():
    with pytest.raises(TraitError, match="set is: none"):
        make(map_file="")


def test_entitlements_need_to_know_whose_they_are():
    with pytest.raises(TraitError, match="entitlement_namespace"):
        make(token_profile="aarc")
    make(token_profile="aarc", entitlement_namespace="urn:geant:example.org")


@pytest.mark.parametrize("profile", ["iam", "kc", "aarc"])
def test_scopes_of_another_profile_are_not_asked_for(profile):
    scopes = make(token_profile=profile, entitlement_namespace="urn:x").scope
    assert {"openid", "offline_access", "compute.create"} <= set(scopes)
    assert not any(scope.startswith("wlcg") for scope in scopes)


def test_a_second_map_of_names_is_refused():
    with pytest.raises(TraitError, match="username_map"):
        make(username_map={"alice": "root"})


UNUSED = {
    "authorize_url": "https://iam.example.org/authorize",
    "token_url": "https://iam.example.org/token",
    "userdata_url": "https://iam.example.org/userinfo",
    "username_claim": "preferred_username",
    "validate_server_cert": False,
    "http_request_kwargs": {"proxy_host": "proxy.example.org", "proxy_port": 3128},
    "userdata_params": {"x": "y"},
    "userdata_token_method": "url",
    "userdata_from_id_token": True,
    "refresh_user_hook": lambda *_: True,
}


@pytest.mark.parametrize("section", ["IAMOAuthenticator", "OAuthenticator", None])
@pytest.mark.parametrize("name", UNUSED)
def test_what_would_be_set_in_vain_is_refused_by_name(name, section):
    config = Config()
    given = {}
    if section is None:
        given[name] = UNUSED[name]
    else:
        config[section][name] = UNUSED[name]
    with pytest.raises(TraitError, match=rf"c\.IAMOAuthenticator\.{name} does nothing here"):
        make(config=config, **given)


def test_all_that_is_set_in_vain_is_named_at_once():
    with pytest.raises(TraitError, match=r"token_url.*username_claim"):
        make(username_claim="uid", token_url="https://iam.example.org/token")


def test_a_certificate_that_shall_be_verified_is_what_happens_anyway():
    make(validate_server_cert=True)


def test_a_variable_that_is_set_in_vain_is_named_in_the_log(monkeypatch, caplog):
    monkeypatch.setenv("OAUTH2_TOKEN_URL", "https://iam.example.org/token")
    make()
    assert "OAUTH2_TOKEN_URL does nothing here" in caplog.text


@pytest.mark.parametrize(
    "proxy",
    ["proxy", "proxy:3128", "socks5://u:hidden@proxy", "http://", "http://p/hidden", "http://p:x"],
)
def test_a_proxy_that_is_none_is_refused_and_its_password_not_repeated(proxy):
    with pytest.raises(TraitError, match="http_proxy must be the URL of an HTTP proxy") as caught:
        make(http_proxy=proxy)
    assert "hidden" not in str(caught.value)


def test_the_shepherd_is_told_of_the_proxy():
    assert make(http_proxy="http://proxy:3128").shepherd.http_proxy == "http://proxy:3128"


def test_scopes_are_the_logins_and_the_clusters():
    assert make().scope == [*BASE_SCOPES, *CLUSTER_SCOPES]
    assert make(cluster_scopes=["compute.read"]).scope == [*BASE_SCOPES, "compute.read"]


def test_whoever_has_an_account_is_let_in_unless_the_site_says_who():
    assert make().allow_all
    assert not make(allowed_users={"alice"}).allow_all
    assert not make(allowed_groups={"/cms"}).allow_all
    assert make(admin_groups={"/admins"}).allow_all


def test_the_secret_is_in_no_representation():
    assert "secret" not in repr(make(client_secret="a-secret"))


def test_a_nonce_follows_from_the_cookie_and_from_nothing_else():
    assert nonce_of("one") == nonce_of("one")
    assert nonce_of("one") != nonce_of("two")


class FakeShepherd:
    def __init__(self, said):
        self.said = said

    async def status(self, owner):
        if isinstance(self.said, Exception):
            raise self.said
        return SimpleNamespace(state=self.said)


@pytest.mark.parametrize(
    ("said", "stands"),
    [
        ("live", True),
        ("retrying", True),
        ("none", True),
        ("needs_login", False),
        ("aup_required", False),
        ("suspended", False),
        ("revoked", False),
        (ProviderUnreachable("away"), True),
        (VaultUnusable("locked"), True),
        (RuntimeError("a bug"), True),
    ],
)  # Removal itself, of a suspended account's sessions, is test_states.py's.
async def test_only_the_end_of_the_grant_ends_a_login(monkeypatch, said, stands):
    authenticator = make()
    # The trait takes a Shepherd only; what it would say is all that matters here.
    monkeypatch.setattr(IAMOAuthenticator, "shepherd", FakeShepherd(said))
    assert await authenticator.refresh_user(SimpleNamespace(name="alice")) is stands
