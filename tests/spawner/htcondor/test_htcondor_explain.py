from __future__ import annotations

import pytest
from roost_spawner.clusters.htcondor.explain import Explanation

pytestmark = pytest.mark.unit

SLOT = {"Machine": "ep1", "State": "Unclaimed", "Cpus": 1, "Memory": 1280, "GPUs": 0}
TAKEN = SLOT | {"State": "Claimed"}


def job(number, **changes):
    ad = {"ClusterId": number, "ProcId": 0, "RequestCpus": 1, "RequestMemory": 1024}
    return ad | changes


def test_all_slots_taken_and_the_place_in_the_queue():
    found = Explanation([job(5), job(7), job(9)], [TAKEN, TAKEN]).of("9.0")
    assert found == ["All 2 slots for notebooks are taken.", "2 notebooks ahead of you."]


def test_the_next_one_is_told_so():
    found = Explanation([job(9)], [TAKEN]).of("9.0")
    assert found[-1] == "Yours is the next notebook in the queue."


def test_what_no_slot_can_ever_hold_is_named_with_the_largest_that_exists():
    small = SLOT | {"Memory": 512}
    (said,) = Explanation([job(9, RequestMemory=65536)], [small, SLOT, small]).of("9.0")
    assert "64 GiB" in said
    assert "the largest has 1 core and 1280 MiB" in said


def test_no_slot_at_all_is_told():
    assert "No node" in Explanation([job(9)], []).of("9.0")[0]


def test_drained_nodes_are_told():
    found = Explanation([job(9)], [SLOT | {"State": "Drained"}]).of("9.0")
    assert "drained" in found[0]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("concurrency limit nb reached", "may run at once"),
        ("submitter limit exceeded", "fair share"),
        ("no match found", None),
        (17, None),
    ],
)
def test_the_negotiator_s_last_word_is_put_plainly(said, words):
    found = Explanation([job(9, LastRejMatchReason=said)], [TAKEN]).of("9.0")
    assert (words in found[0]) if words else found[0].startswith("All 1 slots")


def test_a_job_that_does_not_wait_has_no_reasons():
    assert Explanation([job(9)], [TAKEN]).of("3.0") == []
