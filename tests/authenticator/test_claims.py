from __future__ import annotations

import pytest
from roost_authenticator.claims import identity
from roost_authenticator.errors import BadClaims

pytestmark = pytest.mark.unit

ALICE = {
    "iss": "https://iam.example.org",
    "sub": "3f0c7a2e-1",
    "preferred_username": "alice",
    "name": "Alice",
    "email": "alice@example.org",
    "wlcg.groups": ["/cms/gpu", "/cms"],
}


def test_identity_is_issuer_and_subject_and_the_rest_is_for_show():
    person = identity(ALICE)
    assert (person.issuer, person.subject) == ("https://iam.example.org", "3f0c7a2e-1")
    assert (person.username, person.name, person.email) == ("alice", "Alice", "alice@example.org")


def test_groups_keep_their_slash_and_are_sorted():
    assert identity(ALICE).groups == ("/cms", "/cms/gpu")


def test_a_person_may_have_no_groups_and_no_name():
    person = identity({"iss": "https://iam.example.org", "sub": "x"})
    assert person.groups == ()
    assert person.username is None


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


@pytest.mark.parametrize("groups", ["/cms", {"/cms": 1}, [1], [None], 5])
def test_groups_that_are_no_list_of_strings_are_refused(groups):
    with pytest.raises(BadClaims, match=r"wlcg\.groups"):
        identity(ALICE | {"wlcg.groups": groups})


def test_a_group_that_the_database_cannot_hold_is_dropped():
    assert identity(ALICE | {"wlcg.groups": ["/" + "g" * 300, "", "/cms"]}).groups == ("/cms",)
