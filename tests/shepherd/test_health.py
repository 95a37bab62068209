from __future__ import annotations

import pytest
from roost_shepherd.health import RED_FOR, STUCK_AFTER, Signs, judge, too_late

pytestmark = pytest.mark.unit

NOW = 1_790_000_000.0
AP = "https://ap.example.org:9618"


def signs(**more):
    return Signs(**{"looping": True, "beat_at": NOW - 1} | more)


def test_all_is_well():
    assert judge(signs(), NOW).good


def test_a_loop_that_stands_still_is_red_and_says_so():
    health = judge(signs(beat_at=NOW - STUCK_AFTER - 1), NOW)
    assert not health.good
    assert "stuck" in health.sentences[0]
    assert not judge(signs(beat_at=None), NOW).good


def test_a_loop_of_another_process_is_not_ours_to_judge():
    health = judge(Signs(looping=False), NOW)
    assert health.good
    assert "roost-shepherd" in health.sentences[0]


def test_a_token_served_within_a_minute_of_its_end_is_red_for_a_while_and_says_so():
    late = signs(late_at=NOW, late_left=41.0)
    health = judge(late, NOW + 1)
    assert not health.good
    assert "41 s before its end" in health.sentences[0]
    again = signs(late_at=NOW, late_left=41.0, beat_at=NOW + RED_FOR)
    assert judge(again, NOW + RED_FOR).good


def test_a_provider_that_is_away_is_told_but_is_not_our_illness():
    health = judge(signs(failing_since=NOW - 600), NOW)
    assert health.good
    assert "did not renew" in health.sentences[0]


@pytest.mark.parametrize(
    ("left", "life", "late"),
    [(59, 3600, True), (61, 3600, False), (20, 60, False), (9, 60, True), (-5, 60, True)],
)
def test_a_minute_or_the_last_sixth_of_a_short_life_is_too_late(left, life, late):
    assert too_late(left, life) is late


async def test_it_turns_red_when_a_token_close_to_its_end_was_handed_out(
    shepherd, double, log_in, clock
):
    double.lifetime = 600
    await log_in(shepherd)
    await shepherd.start()
    await shepherd.access_token("alice", audience=AP, scopes=["compute.read"])
    await shepherd._loop.round()
    assert shepherd.health().good
    clock.ahead, double.fail = 560, (503, "", {})
    await shepherd.access_token("alice", audience=AP, scopes=["compute.read"])
    await shepherd._loop.round()
    health = shepherd.health()
    assert not health.good
    assert "before its end" in " ".join(health.sentences)
    clock.ahead, double.fail = 560 + RED_FOR + 1, None
    await shepherd._loop.round()
    assert shepherd.health().good


async def test_it_turns_red_when_the_loop_hangs(shepherd, log_in, clock):
    await log_in(shepherd)
    await shepherd.start()
    await shepherd._loop.round()
    assert shepherd.health().good
    clock.ahead = STUCK_AFTER + 1
    assert not shepherd.health().good
