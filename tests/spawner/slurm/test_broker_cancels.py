from __future__ import annotations

import pytest
from roost_spawner.clusters.slurm.broker import cancels
from roost_spawner.clusters.slurm.broker.cancels import Cancels

pytestmark = pytest.mark.unit


def cancelled(number, end):
    return {
        "job_id": number,
        "job_state": ["CANCELLED"],
        "end_time": {"set": True, "number": end},
    }


def test_what_went_through_the_broker_was_the_owners_wish():
    seen = Cancels(lambda: 1000.0)
    seen.note("5")
    assert seen.by_owner(cancelled(5, 1010)) is True
    assert seen.by_owner(cancelled(6, 1010)) is False


def test_of_what_was_before_it_the_broker_says_nothing():
    assert Cancels(lambda: 1000.0).by_owner(cancelled(5, 990)) is None


def test_a_job_that_was_not_cancelled_has_nobody_who_did():
    assert Cancels().by_owner({"job_id": 5, "job_state": ["RUNNING"]}) is None


def test_the_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(cancels, "_MOST", 3)
    seen = Cancels(lambda: 1000.0)
    for number in range(5):
        seen.note(str(number))
    told = [seen.by_owner(cancelled(number, 1010)) for number in range(5)]
    assert told == [False, False, True, True, True]
