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


@pytest.mark.parametrize("state", ["BLOCKED", "DRAIN", "EXTERNAL", "POWER_DOWN_ASAP", "UNKNOWN"])
def test_a_node_that_takes_no_job_has_nothing_free_and_still_counts(state):
    node = {
        "state": ["IDLE", state],
        "cpus": 8,
        "alloc_idle_cpus": 8,
        "gres": "gpu:a100:2(S:0-1)",
        "gres_used": "gpu:a100:0(IDX:N/A)",
        "real_memory": 1000,
        "partitions": ["gpu"],
    }
    pool = views.capacity([node], partitions=["gpu"])["gpu"]
    assert (pool["cpus_total"], pool["cpus_free"]) == (8, 0)
    assert (pool["gpus_total"], pool["gpus_free"], pool["largest_gpus"]) == (2, 0, 2)
