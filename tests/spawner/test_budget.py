from __future__ import annotations

import pytest
from roost_spawner.budget import BURST, Budget

pytestmark = pytest.mark.unit


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_few_questions_may_be_asked_at_once_and_then_one_for_each_interval():
    clock = Clock()
    budget = Budget(lambda: 2.0, clock)
    assert [budget.take() for _ in range(BURST + 1)] == [True] * BURST + [False]
    clock.now += 1.9
    assert not budget.take()
    clock.now += 0.2
    assert budget.take()
    assert not budget.take()


def test_what_is_asked_in_any_case_counts_and_becomes_a_debt_of_one_at_most():
    clock = Clock()
    budget = Budget(lambda: 2.0, clock)
    for _ in range(3 * BURST):
        budget.spend()
    assert not budget.take()
    clock.now += 2.0
    assert not budget.take()
    clock.now += 2.0
    assert budget.take()


def test_what_is_asked_in_any_case_leaves_less_for_the_rest():
    clock = Clock()
    budget = Budget(lambda: 2.0, clock)
    budget.take(BURST)
    asked = 0
    for _ in range(100):  # 300 s: room for 150
        clock.now += 3.0
        budget.spend()
        asked += 1
        while budget.take():
            asked += 1
    assert asked == pytest.approx(150, abs=1)


def test_it_fills_up_to_the_burst_and_no_further():
    clock = Clock()
    budget = Budget(lambda: 2.0, clock)
    while budget.take():
        pass
    clock.now += 1000
    assert sum(budget.take() for _ in range(100)) == BURST


def test_it_is_low_while_much_is_asked():
    clock = Clock()
    budget = Budget(lambda: 2.0, clock)
    assert not budget.low
    assert budget.take(BURST // 2 + 1)
    assert budget.low
    assert not budget.take(BURST // 2)
    clock.now += 2.0
    assert not budget.low
