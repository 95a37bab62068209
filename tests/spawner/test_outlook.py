from __future__ import annotations

import pytest
from roost_spawner.capacity import Sample
from roost_spawner.clusters.base import Capacity, Pool, Resources, Room
from roost_spawner.outlook import Starts, _about, outlook, outlook_of

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0
GIB = 1024
LARGEST = "the largest has 8 cores, 48 GiB and 2 GPUs of type a100"
SLOTS = {"unit": "slots", "rooms": (Room(40, 1, 1280),)}
NODES = {
    "gpus_total": 4,
    "rooms": (Room(2, 8, 48 * GIB, 2, "a100"), Room(1, 64, 128 * GIB)),
}


def wanted(cpus=1, memory_mib=GIB, walltime_s=3600, **more):
    return Resources(cpus, memory_mib, walltime_s, **more)


def slots(free, *, largest=1280, **more):
    return Pool(40, free, free_rooms=(Room(free, 1, largest),) if free else (), **SLOTS | more)


def nodes(*free_rooms, **more):
    cores = sum(room.count * room.cpus for room in free_rooms)
    gpus = sum(room.count * room.gpus for room in free_rooms)
    return Pool(80, cores, gpus_free=gpus, free_rooms=free_rooms, **NODES | more)


@pytest.mark.parametrize(
    ("pool", "wish", "words", "free"),
    [
        (slots(12), wanted(), "Starts now.", ("12 of 40 reserved slots free",)),
        (
            nodes(Room(1, 8, 48 * GIB, 1, "a100")),
            wanted(gpus=1),
            "Starts now.",
            ("GPUs: 1 of 4 free", "8 of 80 cores free"),
        ),
        (nodes(Room(1, 4, GIB)), wanted(4), "Starts now.", ("4 of 80 cores free",)),
        (
            nodes(Room(1, 4, GIB), waiting=3),
            wanted(4),
            "Starts now, unless the place goes to one of the 3 jobs that wait.",
            ("4 of 80 cores free",),
        ),
        (
            nodes(Room(1, 4, GIB), waiting=1),
            wanted(4),
            "Starts now, unless the place goes to the job that waits.",
            ("4 of 80 cores free",),
        ),
        # Of a broker that tells sums only.
        (Pool(16, 4, 4, 1), wanted(4, gpus=1), "Starts now.", ("GPUs: 1 of 4 free",)),
    ],
)
def test_what_has_a_place_starts_now(pool, wish, words, free):
    found = outlook(pool, wish, now=NOW)
    assert (found.starts, found.words, found.why) == (Starts.NOW, words, "")
    assert found.free[: len(free)] == free


@pytest.mark.parametrize(
    ("pool", "wish", "why"),
    [
        (slots(0), wanted(), "No reserved slot is free."),
        (slots(3, largest=512), wanted(), "No slot with 1 core and 1 GiB is free."),
        (
            nodes(Room(1, 8, 48 * GIB)),
            wanted(gpus=1, gpu_type="a100"),
            "No GPU of type a100 is free.",
        ),
        (
            nodes(Room(1, 1, GIB, 2, "a100")),
            wanted(2, gpus=2),
            "No node has 2 cores, 1 GiB and 2 GPUs free.",
        ),
        (
            nodes(Room(1, 1, GIB), waiting=1),
            wanted(2),
            "No node has 2 cores and 1 GiB free. 1 job waits for it.",
        ),
        (Pool(16, 4, 4, 0), wanted(gpus=1), "No GPU is free."),
    ],
)
def test_what_has_no_place_says_why_and_that_nobody_knows_when(pool, wish, why):
    found = outlook(pool, wish, now=NOW)
    assert (found.starts, found.why) == (Starts.UNKNOWN, why)
    assert found.words == "Nobody can say when it starts."


@pytest.mark.parametrize(
    ("pool", "wish", "starts", "words"),
    [
        (slots(0), {"expected_s": 290.0}, Starts.SOON, "Starts in about 5 minutes."),
        (
            slots(0, next_end_at=NOW + 2400),
            {},
            Starts.SOON,
            "Starts in 40 minutes at the latest.",
        ),
        (
            slots(0, next_end_at=NOW + 2400, waiting=2),
            {},
            Starts.UNKNOWN,
            "Nobody can say when it starts; the next job there ends in 40 minutes at the latest.",
        ),
        (
            nodes(next_end_at=NOW + 2400),
            {},
            Starts.UNKNOWN,
            "Nobody can say when it starts; the next job there ends in 40 minutes at the latest.",
        ),
        # What was seen lately tells more than a bound.
        (
            slots(0, next_end_at=NOW + 2400),
            {"expected_s": 30.0},
            Starts.SOON,
            "Starts in about a minute.",
        ),
    ],
)
def test_when_is_told_as_far_as_it_is_known(pool, wish, starts, words):
    found = outlook(pool, wanted(), now=NOW, **wish)
    assert (found.starts, found.words) == (starts, words)


@pytest.mark.parametrize(
    ("pool", "wish", "why"),
    [
        (
            slots(12),
            wanted(2, 2 * GIB),
            "No slot has 2 cores and 2 GiB; the largest has 1 core and 1280 MiB.",
        ),
        (
            nodes(rooms=(Room(3, 8, 257_654),)),
            wanted(memory_mib=512 * GIB),
            "No node has 1 core and 512 GiB; the largest has 8 cores and 251 GiB.",
        ),
        (
            nodes(),
            wanted(gpus=3),
            f"No node has 1 core, 1 GiB and 3 GPUs; {LARGEST}.",
        ),
        # The one with most memory has no GPU: no node has both.
        (
            nodes(),
            wanted(memory_mib=64 * GIB, gpus=1),
            f"No node has 1 core, 64 GiB and 1 GPU; {LARGEST}.",
        ),
        (
            nodes(),
            wanted(gpus=1, gpu_type="h100"),
            "No node has a GPU of type h100; there are: a100.",
        ),
        (nodes(rooms=(Room(1, 8, GIB),)), wanted(gpus=1), "No node has a GPU."),
        (
            nodes(max_walltime_s=4 * 3600),
            wanted(walltime_s=12 * 3600),
            "A session here lasts 4h at the longest; 12h are asked for.",
        ),
        (
            nodes(problem="Partition gpu is out of service."),
            wanted(),
            "Partition gpu is out of service.",
        ),
        (None, wanted(partition="gpu"), "This cluster hands out no partition gpu."),
        (None, wanted(), "The profile names no partition."),
        (Pool(16, 4, 4, 0), wanted(gpus=5), "There is no place with 1 core, 1 GiB and 5 GPUs."),
    ],
)
def test_what_can_never_start_says_why(pool, wish, why):
    found = outlook(pool, wish, expected_s=10.0, now=NOW)
    assert (found.starts, found.words, found.why) == (Starts.NEVER, "Cannot start.", why)


def test_of_what_is_out_of_service_nothing_is_told_to_be_free():
    down = nodes(Room(2, 8, 48 * GIB), problem="Partition gpu is out of service.")
    assert outlook(down, wanted(), now=NOW).free == ()
    assert outlook(nodes(Room(2, 8, 48 * GIB)), wanted(cpus=99), now=NOW).free != ()


def test_gpus_of_another_type_are_not_free():
    pool = nodes(
        Room(1, 8, GIB, 2, "v100"),
        rooms=(Room(1, 8, GIB, 2, "v100"), Room(2, 8, GIB, 1, "a100")),
    )
    found = outlook(pool, wanted(gpus=1, gpu_type="a100"), now=NOW)
    assert found.free[0] == "GPUs: 0 of 2 free"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "a minute"),
        (60, "a minute"),
        (61, "2 minutes"),
        (600, "10 minutes"),
        (601, "15 minutes"),
        (3540, "1 hour"),
        (3601, "2 hours"),
        (86000, "1 day"),
        (90000, "2 days"),
    ],
)
def test_times_are_rounded_up_as_people_say_them(seconds, words):
    assert _about(seconds) == words


def test_nothing_is_promised_of_a_cluster_that_does_not_answer():
    had = Capacity({"reserved": slots(12)}, by="slot")
    found = outlook_of(Sample(NOW - 60, had, "It does not answer."), wanted(), now=NOW)
    assert (found.starts, found.why) == (Starts.UNKNOWN, "It does not answer.")
    assert (found.free, found.as_of) == (("12 of 40 reserved slots free",), NOW - 60)


def test_without_any_answer_nobody_knows():
    assert outlook_of(None, wanted(), now=NOW).words == "Nobody can say when it starts."
    found = outlook_of(Sample(NOW, None, "It does not answer."), wanted(), now=NOW)
    assert (found.starts, found.why, found.as_of) == (Starts.UNKNOWN, "It does not answer.", NOW)


def test_a_profile_of_a_slot_class_is_not_taken_for_a_partition():
    both = {"reserved": slots(1), "gpu": nodes()}
    wish = wanted(partition="gpu")
    assert Capacity(both, by="slot").of(wish) is both["reserved"]
    assert Capacity(both).of(wish) is both["gpu"]
