"""How often somebody may do something."""

from __future__ import annotations

import pytest
from roost_shepherd.pace import Pace

pytestmark = pytest.mark.unit


@pytest.fixture
def clock():
    return [1000.0]


def pace(clock, **more):
    return Pace(3, 10.0, clock=lambda: clock[0], **more)


def test_a_few_calls_at_once_are_allowed_and_then_one_every_so_often(clock):
    calls = pace(clock)
    assert [calls.wait("a") for _ in range(5)] == [0, 0, 0, 10, 10]
    clock[0] += 4
    assert calls.wait("a") == 6
    clock[0] += 6
    assert [calls.wait("a"), calls.wait("a")] == [0, 10]


def test_one_caller_costs_another_nothing(clock):
    calls = pace(clock)
    for _ in range(10):
        calls.wait("a")
    assert calls.wait("b") == 0


def test_who_was_silent_long_enough_has_all_calls_again(clock):
    calls = pace(clock)
    for _ in range(10):
        calls.wait("a")
    clock[0] += 1000
    assert [calls.wait("a") for _ in range(4)] == [0, 0, 0, 10]


def test_many_callers_cost_no_more_memory_than_is_allowed(clock):
    calls = pace(clock, callers=5)
    for number in range(100):
        calls.wait(str(number))
    assert len(calls._full_at) == 5
