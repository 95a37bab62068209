"""Session ids that only one hub can make."""

from __future__ import annotations

import re

import pytest
from roost_spawner.origin import Origin

pytestmark = pytest.mark.unit

URL = "https://hub.example.org/"


@pytest.fixture
def ours():
    return Origin(b"a" * 32, URL)


def test_a_hub_knows_the_ids_that_it_made_also_after_a_restart(ours):
    made = {ours.new_id("hub") for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    again = Origin(b"a" * 32, URL.rstrip("/"))
    assert all(again.made(f"hub/{one}") for one in made)


def test_a_hub_with_the_same_hub_id_and_another_secret_or_address_is_a_stranger(ours):
    for other in (Origin(b"b" * 32, URL), Origin(b"a" * 32, "https://staging.example.org/")):
        assert not ours.made(f"hub/{other.new_id('hub')}")


@pytest.mark.parametrize("mark", ["", "hub", "hub/", "hub/" + "0" * 32, "hub/x", "hub/é", "a/b/c"])
def test_a_mark_that_somebody_made_up_is_a_strangers(ours, mark):
    assert not ours.made(mark)


def test_an_id_under_another_hub_id_is_a_strangers(ours):
    assert not ours.made(f"other/{ours.new_id('hub')}")


def test_without_a_secret_every_mark_counts_as_before():
    assert Origin().made(f"hub/{Origin().new_id('hub')}")
