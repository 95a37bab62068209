from __future__ import annotations

import json
from pathlib import Path

import pytest
from roost_spawner.clusters.base import Room, Use
from roost_spawner.clusters.htcondor.capacity import capacity

pytestmark = pytest.mark.unit

SEEN = json.loads((Path(__file__).parents[2] / "data/htcondor/slots-23.9.6.json").read_text())


def slot(number=1, **change):
    return {
        "Name": f"notebook{number}@ep1",
        "RoostSlot": True,
        "State": "Unclaimed",
        "TotalSlotCpus": 1,
        "TotalSlotMemory": 1280,
        "TotalSlotGPUs": 0,
        "Cpus": 1,
        "Memory": 1280,
        "GPUs": 0,
    } | change


def ordinary(**change):
    return {
        "Name": "slot1@ep1",
        "State": "Unclaimed",
        "PartitionableSlot": True,
        "TotalSlotCpus": 64,
        "TotalSlotMemory": 256_000,
        "TotalSlotGPUs": 4,
        "GPUs_DeviceName": "A100",
        "Cpus": 10,
        "Memory": 20_000,
        "GPUs": 1,
    } | change


def pools(*slots, ends=None):
    return capacity(slots, ends or {}).pools


def test_reserved_slots_are_counted_by_the_piece():
    pool = pools(slot(1), slot(2, State="Claimed"), slot(3, TotalSlotMemory=512, Memory=512))[
        "reserved"
    ]
    assert (pool.total, pool.free, pool.unit) == (3, 2, "slots")
    assert pool.rooms == (Room(2, 1, 1280), Room(1, 1, 512))
    assert pool.free_rooms == (Room(1, 1, 1280), Room(1, 1, 512))


@pytest.mark.parametrize("state", ["Owner", "Drained", "Claimed", "Matched", "Preempting"])
def test_a_slot_that_takes_nobody_now_is_not_free(state):
    assert pools(slot(State=state), slot(2))["reserved"].free == 1


def test_a_node_that_sleeps_is_not_free():
    assert pools(slot(Offline=True), slot(2))["reserved"].free == 1


def test_of_an_ordinary_slot_what_is_left_of_it_is_free():
    pool = pools(ordinary(), ordinary(Name="slot1@ep2", Cpus=0))["ordinary"]
    assert (pool.total, pool.free, pool.unit) == (128, 10, "cores")
    assert (pool.gpus_total, pool.gpus_free) == (8, 1)
    assert pool.rooms == (Room(2, 64, 256_000, 4, "A100"),)
    assert pool.free_rooms == (Room(1, 10, 20_000, 1, "A100"),)


def test_an_ordinary_slot_that_is_not_partitioned_is_taken_as_a_whole():
    static = ordinary(PartitionableSlot=False, Cpus=64, State="Claimed")
    assert pools(static)["ordinary"].free == 0


def test_a_drained_node_is_no_place_at_all():
    pool = pools(ordinary(State="Drained"), slot())["ordinary"]
    assert (pool.total, pool.free, pool.rooms) == (64, 0, ())
    assert (
        pool.problem == "The nodes with ordinary slots are being drained or kept by their admins."
    )


def test_no_node_is_told():
    found = pools()
    assert found["reserved"].problem == "No node with slots for notebooks is up at the moment."
    assert found["ordinary"].problem == "No node with ordinary slots is up at the moment."


def test_the_first_end_counts_for_the_class_of_its_slot():
    slots = [slot(1), slot(2), ordinary()]
    found = pools(
        *slots,
        ends={"notebook2@ep1": 50.0, "notebook1@ep1": 70.0, "slot1_7@ep1": 9.0, "other@ep": 1.0},
    )
    assert found["reserved"].next_end_at == 50.0
    assert found["ordinary"].next_end_at == 9.0
    assert pools(*slots)["reserved"].next_end_at is None


def test_what_a_real_pool_said_while_idle():
    found = capacity(SEEN["idle"], {}).pools
    reserved, ordinary = found["reserved"], found["ordinary"]
    assert (reserved.total, reserved.free) == (32, 32)
    assert reserved.rooms == (Room(32, 1, 1280),)
    assert (ordinary.total, ordinary.free, ordinary.problem) == (4, 4, "")


def test_what_a_real_pool_said_with_a_node_drained_and_a_notebook_on_the_other():
    found = capacity(SEEN["busy"], {}).pools
    reserved, ordinary = found["reserved"], found["ordinary"]
    assert (reserved.total, reserved.free) == (32, 15)
    assert reserved.rooms == (Room(16, 1, 1280),)
    assert (ordinary.total, ordinary.free) == (4, 2)
    assert [(room.count, room.cpus) for room in ordinary.free_rooms] == [(1, 2)]


def test_what_overbooked_slots_really_take_is_told_beside_what_the_nodes_really_have():
    told = {"DetectedCpus": 4, "CondorLoadAvg": 0.25}
    other = slot(9, Name="notebook9@ep2", State="Claimed", DetectedCpus=8, CondorLoadAvg=1.0)
    found = pools(slot(1, **told), slot(2, **told), other, ordinary(DetectedCpus=4))
    assert found["reserved"].use == Use(1.5, 12)
    assert found["ordinary"].use is None


def test_nodes_that_do_not_tell_how_busy_they_are_are_not_idle():
    assert pools(slot(1, DetectedCpus=4), slot(2, Name="n@ep2"))["reserved"].use is None
    assert pools()["reserved"].use is None
