from __future__ import annotations

import time

import pytest
from roost_authenticator.claims import Profile, identity, identity_scopes, tells_groups
from roost_authenticator.errors import BadClaims

pytestmark = pytest.mark.unit

NAMESPACE = "urn:geant:iam.example.org"
WHO = {
    "iss": "https://iam.example.org",
    "sub": "3f0c7a2e-1",
    "preferred_username": "alice",
    "name": "Alice",
    "email": "alice@example.org",
}
ALICE = WHO | {"wlcg.groups": ["/cms/gpu", "/cms"]}

# As IAM 1.12 shapes them, by the profile of the client.
PROFILES = {
    "wlcg": {"wlcg.ver": "1.0", "wlcg.groups": ["/cms", "/cms/gpu"]},
    "iam": {"groups": ["cms", "cms/gpu"], "organisation_name": "example"},
    "kc": {"roles": ["cms", "cms/gpu"]},
    "aarc": {
        "eduperson_entitlement": [
            f"{NAMESPACE}:group:cms#iam.example.org",
            f"{NAMESPACE}:group:cms:gpu:role=member#iam.example.org",
        ],
        "voperson_id": "3f0c7a2e-1@iam.example.org",
    },
    "aarc-g069": {"entitlements": [f"{NAMESPACE}:group:cms", f"{NAMESPACE}:group:cms:gpu"]},
}
ROLES = {
    "wlcg": {"wlcg.groups": ["/cms/Role=production/Capability=NULL", "/cms/Role=NULL"]},
    "iam": {"groups": ["cms/role=production", "cms"]},
    "kc": {"roles": ["/cms/ROLE=production", "/cms"]},
    "aarc": {
        "entitlements": [
            f"{NAMESPACE}:group:cms:role=production#x",
            f"{NAMESPACE}:group:cms:role=member#x",
        ]
    },
}


def groups(claims, **more):
    return identity(WHO | claims, namespace=NAMESPACE, **more).groups


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_gives_the_same_identity(profile):
    assert identity(WHO | PROFILES[profile], namespace=NAMESPACE) == identity(ALICE)
    assert groups(PROFILES[profile]) == ("/cms", "/cms/gpu")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_that_was_named_reads_its_own_claim_and_no_other(profile):
    name = Profile(profile.partition("-")[0])
    assert groups(PROFILES[profile], profile=name) == ("/cms", "/cms/gpu")
    for other in set(Profile) - {name, Profile.AUTO}:
        assert groups(PROFILES[profile], profile=other) == ()


@pytest.mark.parametrize("profile", ROLES)
def test_a_role_is_a_group_of_its_own_below_its_group(profile):
    assert groups(ROLES[profile]) == ("/cms", "/cms/Role=production")


def test_a_role_makes_no_member():
    assert groups({"wlcg.groups": ["/cms/Role=production"]}) == ("/cms/Role=production",)


def test_an_optional_group_is_a_group_while_it_is_told():
    assert groups({"wlcg.groups": ["/cms/pilot", "/cms"]}) == ("/cms", "/cms/pilot")


def test_entitlements_of_others_count_for_nothing():
    told = [
        "urn:geant:elsewhere.org:group:cms#iam.example.org",
        f"{NAMESPACE}.evil:group:cms",
        f"{NAMESPACE}:res:cms",
        "https://example.org/entitlement",
    ]
    assert groups({"entitlements": told}) == ()


def test_without_a_namespace_no_entitlement_counts():
    assert identity(WHO | PROFILES["aarc"]).groups == ()
    assert identity(WHO | PROFILES["aarc"] | {"groups": ["cms"]}).groups == ("/cms",)


@pytest.mark.parametrize("hidden", ["cms%2Fadmins", "cms::admins", "", "role=production", "%"])
def test_no_entitlement_passes_for_another_groups_name(hidden):
    found = groups({"entitlements": [f"{NAMESPACE}:group:{hidden}"]})
    assert "/cms/admins" not in found
    assert all(group.count("/") == 1 and "=" not in group for group in found)


def test_escapes_of_an_entitlement_are_undone():
    assert groups({"entitlements": [f"{NAMESPACE}:group:c%3Ams"]}) == ("/c:ms",)


def test_both_of_aarcs_claims_count_together():
    told = {
        "entitlements": [f"{NAMESPACE}:group:a"],
        "eduperson_entitlement": f"{NAMESPACE}:group:b#x",
    }
    assert groups(told) == ("/a", "/b")


def test_identity_is_issuer_and_subject_and_the_rest_is_for_show():
    person = identity(ALICE)
    assert (person.issuer, person.subject) == ("https://iam.example.org", "3f0c7a2e-1")
    assert (person.username, person.name, person.email) == ("alice", "Alice", "alice@example.org")


def test_a_person_may_have_no_groups_and_no_name():
    person = identity({"iss": "https://iam.example.org", "sub": "x"})
    assert person.groups == ()
    assert person.username is None


@pytest.mark.parametrize("name", ["wlcg.groups", "groups", "roles", "entitlements"])
def test_groups_may_be_absent_null_or_empty(name):
    assert groups({}) == groups({name: None}) == groups({name: []}) == ()
    assert not tells_groups(WHO, namespace=NAMESPACE)
    assert not tells_groups(WHO | {name: None}, namespace=NAMESPACE)
    assert tells_groups(WHO | {name: []}, namespace=NAMESPACE)


@pytest.mark.parametrize("profile", ["wlcg", "iam", "kc", "aarc"])
def test_ten_thousand_groups_are_read_in_no_time(profile):
    shape = {
        "wlcg": ("wlcg.groups", "/g/{}"),
        "iam": ("groups", "g/{}"),
        "kc": ("roles", "g/{}"),
        "aarc": ("entitlements", NAMESPACE + ":group:g:{}"),
    }
    name, form = shape[profile]
    started = time.perf_counter()
    found = groups({name: [form.format(n) for n in range(10_000)]})
    assert time.perf_counter() - started < 1
    assert len(found) == 10_000
    assert "/g/9999" in found


@pytest.mark.parametrize("missing", ["iss", "sub"])
def test_nobody_is_known_without_issuer_and_subject(missing):
    with pytest.raises(BadClaims, match="did not say who you are"):
        identity({name: value for name, value in ALICE.items() if name != missing})


@pytest.mark.parametrize("subject", [7, "", None, ["a"]])
def test_a_subject_must_be_text(subject):
    with pytest.raises(BadClaims):
        identity(ALICE | {"sub": subject})


@pytest.mark.parametrize("subject", ["a b", "a\nb", "a\u200bb"])
def test_a_subject_that_could_pass_for_two_words_of_a_map_line_is_refused(subject):
    with pytest.raises(BadClaims, match="cannot be used"):
        identity(ALICE | {"sub": subject})


@pytest.mark.parametrize("name", ["wlcg.groups", "groups", "roles", "entitlements"])
@pytest.mark.parametrize("value", [{"/cms": 1}, [1], [None], 5])
def test_groups_that_are_no_list_of_strings_are_refused(name, value):
    with pytest.raises(BadClaims, match=name.replace(".", r"\.")):
        groups({name: value})


@pytest.mark.parametrize("name", ["wlcg.groups", "groups", "roles"])
def test_a_single_string_is_no_list_of_groups(name):
    with pytest.raises(BadClaims):
        groups({name: "/cms"})


@pytest.mark.parametrize("bad", ["/" + "g" * 300, "", "/", "/a\nb", "/a b", "/a//b", "//a"])
def test_a_group_that_cannot_be_kept_is_dropped(bad):
    assert groups({"wlcg.groups": [bad, "/cms"]}) == ("/cms",)


def test_groups_are_asked_for_again_with_those_scopes_that_were_given():
    login = ["openid", "profile", "wlcg.groups", "wlcg.groups:/cms"]
    assert identity_scopes([*login, "offline_access", "compute.read"]) == set(login)
    assert identity_scopes(login[:2]) == {"openid", "profile"}
