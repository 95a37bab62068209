from __future__ import annotations

import json
from pathlib import Path

import pytest
from roost_spawner.clusters.base import Room
from roost_spawner.clusters.slurm import capacity as hub_side
from roost_spawner.clusters.slurm.broker.capacity import capacity
from roost_spawner.clusters.slurm.broker.views import gpus_of

pytestmark = pytest.mark.unit

SEEN = json.loads((Path(__file__).parents[2] / "data/slurm/capacity-24.11.5.json").read_text())


def node(*states, **change):
    return {
        "state": list(states),
        "cpus": 8,
        "alloc_idle_cpus": 8,
        "gres": "gpu:a100:2(S:0-1)",
        "gres_used": "gpu:a100:0(IDX:N/A)",
        "real_memory": 1000,
        "partitions": ["gpu"],
    } | change


def of(nodes, **more):
    (pool,) = capacity(nodes, partitions=["gpu"], **more).values()
    return pool


def seen(name, partition="gpu", jobs=()):
    moment = SEEN[name]
    found = capacity(
        moment["nodes"], partitions=[partition], facts=moment["partitions"], jobs=moment["jobs"]
    )
    return hub_side.pool(partition, found[partition])


@pytest.mark.parametrize(
    ("gres", "found"),
    [
        ("", {}),
        ("gpu:2", {None: 2}),
        ("gpu:a100:2(S:0-1)", {"a100": 2}),
        ("gpu:2(S:0-1),shard:8", {None: 2}),
        ("gpu:(null):1(IDX:0)", {None: 1}),
        ("gpu:a100:2(S:0),gpu:v100:4(S:1)", {"a100": 2, "v100": 4}),
        ("gpu:a100:2(IDX:0,2),gpu:v100:1(IDX:3)", {"a100": 2, "v100": 1}),
        ("mygpu:2,gpu:1", {None: 1}),
        ("vgpu:4", {}),
        ("gpu:no_consume:2,gpu:a100:no_consume:4", {None: 2, "a100": 4}),
        ("gpu(null),gres/gpu=2", {}),
        ("shard:gpu:4,craynetwork:1", {}),
        ("gpu:" + "9" * 5000, {}),
    ],
)
def test_gpus_are_counted_by_type(gres, found):
    assert gpus_of(gres) == found


@pytest.mark.parametrize("state", ["BLOCKED", "DRAIN", "EXTERNAL", "POWER_DOWN_ASAP", "UNKNOWN"])
def test_a_node_that_takes_no_job_has_nothing_free_and_still_counts(state):
    pool = of([node("IDLE", state)])
    assert (pool["cpus_total"], pool["cpus_free"]) == (8, 0)
    assert (pool["gpus_total"], pool["gpus_free"], pool["largest_gpus"]) == (2, 0, 2)
    assert pool["free_rooms"] == []


@pytest.mark.parametrize(
    ("state", "up"), [("DOWN", False), ("MAINTENANCE", False), ("POWERED_DOWN", True)]
)
def test_what_comes_back_by_itself_is_a_place_where_jobs_may_start_one_day(state, up):
    assert bool(of([node("IDLE", state)])["rooms"]) is up


def test_rooms_that_are_alike_are_told_once_with_what_is_left_on_each():
    busy = node("MIXED", alloc_idle_cpus=5, alloc_memory=400, gres_used="gpu:a100:1(IDX:0)")
    pool = of([node("IDLE"), node("IDLE"), busy])
    whole = {"cpus": 8, "memory_mib": 1000, "gpus": 2, "gpu_type": "a100"}
    left = {"cpus": 5, "memory_mib": 600, "gpus": 1, "gpu_type": "a100"}
    assert pool["rooms"] == [{"count": 3} | whole]
    assert pool["free_rooms"] == [{"count": 2} | whole, {"count": 1} | left]


def test_what_slurm_keeps_for_itself_is_not_offered():
    pool = of([node("IDLE", effective_cpus=6, specialized_memory=200)])
    assert (pool["cpus_total"], pool["largest_memory_mib"]) == (6, 800)


def test_a_node_with_two_types_of_gpus_is_a_place_for_either_and_for_both():
    found = node("IDLE", gres="gpu:a100:1,gpu:v100:2", gres_used="gpu:a100:0,gpu:v100:2")
    pool = hub_side.pool("gpu", of([found]) | {"state": "UP"})
    assert {(room.gpus, room.gpu_type) for room in pool.rooms} == {
        (3, None),
        (1, "a100"),
        (2, "v100"),
    }
    assert pool.free_rooms == (Room(1, 8, 1000, 1, "a100"),)


def job(state, reason="None", **change):
    number = {"set": True, "infinite": False, "number": 1}
    return {
        "job_state": [state],
        "state_reason": reason,
        "partition": "gpu",
        "priority": number,
        "time_limit": number,
        "end_time": number | {"number": 5000},
    } | change


def test_who_waits_for_a_place_is_counted_and_who_waits_for_a_time_is_not():
    jobs = [
        job("PENDING", "Resources"),
        job("PENDING", "Priority", partition="cpu,gpu"),
        job("PENDING", "Dependency"),
        job("PENDING", "Priority", priority={"set": True, "infinite": False, "number": 0}),
        job("PENDING", "Resources", partition="cpu"),
        job("RUNNING"),
    ]
    assert of([], jobs=jobs)["waiting"] == 2


def test_the_first_end_is_that_of_a_job_that_has_one():
    def at(end):
        return {"end_time": {"set": True, "infinite": False, "number": end}}

    endless = {"time_limit": {"set": False, "infinite": True, "number": 0}}
    jobs = [job("RUNNING", **at(9)), job("RUNNING", **at(7)), job("RUNNING", **at(3), **endless)]
    assert of([], jobs=[*jobs, job("COMPLETED", **at(1))])["next_end_at"] == 7
    assert of([])["next_end_at"] is None


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"state": "UP"}, ""),
        ({"state": "DOWN"}, "The partition is out of service."),
        ({"state": "DRAIN"}, "The partition takes no new jobs."),
        ({"state": "INACTIVE"}, "The partition starts no jobs at the moment."),
        ({"state": ""}, "Slurm has no partition gpu."),
        ({"rooms": []}, "The nodes are down, being drained, or reserved."),
    ],
)
def test_why_nothing_starts_in_a_partition_is_told(record, problem):
    found = of([node("IDLE")]) | {"state": "UP"} | record
    assert hub_side.pool("gpu", found).problem == problem


def test_an_older_broker_is_understood():
    old = {"cpus_total": 16, "cpus_free": 4, "gpus_total": 2, "gpus_free": 1}
    pool = hub_side.pool("gpu", old)
    assert (pool.total, pool.free, pool.gpus_free) == (16, 4, 1)
    assert (pool.rooms, pool.problem, pool.max_walltime_s) == ((), "", None)


def test_what_a_real_cluster_said_while_idle():
    pool = seen("idle")
    assert (pool.total, pool.free, pool.gpus_free) == (16, 16, 4)
    assert pool.rooms == pool.free_rooms == (Room(2, 8, 16384, 2),)
    assert (pool.max_walltime_s, pool.problem, pool.waiting) == (86400, "", 0)


def test_what_a_real_cluster_said_with_a_node_drained_a_partition_down_and_jobs():
    pool = seen("busy")
    assert pool.rooms == (Room(1, 8, 16384, 2),)
    assert pool.free_rooms == (Room(1, 6, 14336, 0),)
    assert (pool.gpus_total, pool.gpus_free, pool.waiting) == (4, 0, 1)
    (running,) = [job for job in SEEN["busy"]["jobs"] if job["job_state"] == ["RUNNING"]]
    assert pool.next_end_at == running["end_time"]["number"]
    assert seen("busy", "cpu").problem == "The partition is out of service."
