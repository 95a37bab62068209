from __future__ import annotations

import pytest
from roost_hub.admin import words
from roost_shepherd.vault.models import GrantState
from roost_spawner.starts import REASONS

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.031, "31 ms"),
        (0.4, "0.4 s"),
        (9.94, "9.9 s"),
        (61, "61 s"),
        (150, "2 min"),
        (7200, "2.0 h"),
    ],
)
def test_durations_are_as_exact_as_it_matters(seconds, said):
    assert words.seconds(seconds) == said


def test_amounts_of_memory_have_the_unit_that_people_use():
    assert words.memory(512) == "512 MiB"
    assert words.memory(1536) == "1.5 GiB"


def test_every_reason_and_every_state_of_a_grant_has_words():
    assert set(words.REASONS) == set(REASONS) - {"stopped", "overflow"}
    assert set(words.GRANTS) == set(GrantState) - {GrantState.NONE}
