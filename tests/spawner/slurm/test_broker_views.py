from __future__ import annotations

import pytest
from roost_spawner.clusters.slurm.broker import views

pytestmark = pytest.mark.unit


def waiting(number, priority, partition="gpu", state="PENDING"):
    return {
        "job_id": number,
        "job_state": [state],
        "partition": partition,
        "priority": {"set": True, "infinite": False, "number": priority},
    }


def test_who_comes_first_has_the_priority_or_came_earlier():
    mine = waiting(5, 100)
    jobs = [mine, waiting(3, 100), waiting(6, 100), waiting(7, 200), waiting(4, 50)]
    assert views.ahead(mine, jobs) == 2  # 3 and 7


@pytest.mark.parametrize(
    ("other", "number"),
    [
        (waiting(1, 100, "cpu"), 0),
        (waiting(1, 100, "cpu,gpu"), 1),
        (waiting(1, 100, state="RUNNING"), 0),
        (waiting(1, 0), 0),  # held
    ],
)
def test_only_who_waits_for_the_same_partition_is_ahead(other, number):
    assert views.ahead(waiting(5, 100), [other]) == number


def test_all_who_wait_come_before_a_held_job():
    assert views.ahead(waiting(5, 0), [waiting(9, 1), waiting(1, 0)]) == 1
