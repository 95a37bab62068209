from __future__ import annotations

import pytest
from roost_spawner import notices

pytestmark = pytest.mark.unit

NONE = frozenset()


@pytest.mark.parametrize(
    ("left", "told", "minutes"),
    [
        (3600, NONE, None),
        (901, NONE, None),
        (900, NONE, 15),
        (700, NONE, 12),
        (700, {900}, None),
        (300, {900}, 5),
        (20, NONE, 1),
        (20, {300}, None),
        (0, NONE, None),
        (-5, NONE, None),
    ],
)
def test_the_walltime_is_announced_once_at_15_and_at_5_minutes(left, told, minutes):
    due = notices.walltime(10_000 + left, frozenset(told), 10_000)
    if minutes is None:
        assert due is None
    else:
        plural = "" if minutes == 1 else "s"
        assert f"in {minutes} minute{plural}." in due[1].message


def test_an_unknown_end_is_not_announced():
    assert notices.walltime(0, NONE, 10_000) is None


def test_an_eviction_says_how_long_there_is():
    assert "is stopping this job: your session ends in 30 s" in notices.ending(30, 0, 1.0).message
    assert "very soon" in notices.ending(None, 5000, 1.0).message


def test_an_eviction_that_leaves_no_time_does_not_ask_to_save():
    assert notices.ending(0, 0, 1.0).message.endswith("this job: your session ends now.")


def test_the_end_of_the_walltime_is_no_eviction():
    assert "time is up: your session ends in 30 s" in notices.ending(30, 5000, 4999).message
