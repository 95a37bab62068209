from __future__ import annotations

import pytest
from roost_spawner.clusters.htcondor.capacity import capacity
from roost_spawner.clusters.htcondor.explain import Explanation
from roost_spawner.clusters.htcondor.negotiators import missing

pytestmark = pytest.mark.unit

NB, SITE = {"Name": "NB@cm.example.org"}, {"Name": "cm.example.org"}
SLOT = {"Machine": "ep1", "State": "Unclaimed", "Cpus": 1, "Memory": 1280, "RoostNegotiator": "NB"}
JOB = {"ClusterId": 9, "ProcId": 0, "RequestCpus": 1, "RequestMemory": 1024}


@pytest.mark.parametrize(
    ("slots", "there", "words"),
    [
        ([SLOT], [NB, SITE], ""),
        ([SLOT], [SITE], "negotiator for notebooks is not there"),
        ([SLOT], [], "has no negotiator"),
        ([], [], "has no negotiator"),
        ([SLOT], None, ""),
        ([SLOT | {"RoostNegotiator": "nb"}], [NB], ""),
        ([{**SLOT, "RoostNegotiator": ""}], [SITE], ""),
        # Nodes of before there was the attribute, and what is not a name.
        ([{"Machine": "ep1"}], [SITE], ""),
        ([SLOT, {"Machine": "ep2"}], [SITE], ""),
        ([SLOT | {"RoostNegotiator": 17}], [SITE], ""),
        ([SLOT], [{"Name": 17}], "negotiator for notebooks is not there"),
    ],
)
def test_it_is_told_when_nobody_gives_the_slots_away(slots, there, words):
    found = missing(slots, there)
    assert (words in found) if words else found == ""


def test_who_waits_is_told_so_and_not_to_be_the_next():
    found = Explanation([JOB], [SLOT], [SITE]).of("9.0")
    assert len(found) == 1
    assert "negotiator for notebooks is not there" in found[0]
    assert Explanation([JOB], [SLOT], [NB]).of("9.0") == [
        "Yours is the next notebook in the queue."
    ]


@pytest.mark.parametrize(
    ("times", "passed"),
    [
        ({"QDate": 100, "ServerTime": 200}, True),
        ({"QDate": 100, "ServerTime": 120}, False),
        ({"QDate": 100, "LastRejMatchTime": 199, "ServerTime": 200}, False),
        ({"QDate": 100}, False),
        ({"ServerTime": 200}, False),
    ],
)
def test_a_job_that_nobody_looks_at_though_there_is_room_is_told_so(times, passed):
    (said,) = Explanation([JOB | times], [SLOT], [NB]).of("9.0")
    assert ("looks for no place" in said) is passed


def test_a_job_for_which_there_is_no_room_is_not_said_to_be_passed_over():
    taken = SLOT | {"State": "Claimed"}
    found = Explanation([JOB | {"QDate": 100, "ServerTime": 200}], [taken], [NB]).of("9.0")
    assert found[0].startswith("All 1 slots")


def test_no_profile_is_said_to_start_where_nobody_gives_slots_away():
    slot = SLOT | {"Name": "notebook1@ep1", "RoostSlot": True, "TotalSlotCpus": 1}
    slot |= {"TotalSlotMemory": 1280, "GPUs": 0}
    found = capacity([slot], {}, [SITE]).pools
    assert "negotiator for notebooks is not there" in found["reserved"].problem
    assert capacity([slot], {}, [NB]).pools["reserved"].problem == ""
