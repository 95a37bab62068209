"""Which node has a job, by the collector's ads."""

from __future__ import annotations

import pytest
from roost_spawner.clusters.base import JobState, JobView
from roost_spawner.clusters.htcondor.places import constraint, node, protects

pytestmark = pytest.mark.unit

VIEW = JobView(
    "12.0", JobState.RUNNING, owner="alice", node="ep1", slot="notebook1@ep1.example.org"
)
IDLE = {"Name": "notebook1@ep1.example.org", "Machine": "ep1.example.org"}
BUSY = IDLE | {
    "JobId": "12.0",
    "GlobalJobId": "ap.example.org#12.0#1796095941",
    "RemoteOwner": "alice@example.org",
}


def found(*slots, trusted=False, view=VIEW):
    return node(view, slots, "ap.example.org", trusted=trusted)


def test_the_slot_that_has_the_job_says_where_it_is():
    elsewhere = BUSY | {"Name": "notebook2@ep2.example.org", "Machine": "ep2.example.org"}
    assert found(BUSY) == "ep1.example.org"
    assert found(elsewhere) == "ep2.example.org"
    # Whatever the job says of it, and also where its access point would not let it.
    assert found(IDLE, elsewhere, trusted=True) == "ep2.example.org"


@pytest.mark.parametrize(
    "change",
    [
        {"GlobalJobId": "other.example.org#12.0#1796095941"},
        {"GlobalJobId": "ap.example.org#112.0#1796095941"},
        {"GlobalJobId": "12.0"},
        {"GlobalJobId": None},
        {"RemoteOwner": "mallory@example.org"},
        {"RemoteOwner": 1},
        {"Machine": ""},
        {"Machine": None},
    ],
)
def test_anothers_slot_says_nothing(change):
    assert found(BUSY | change) is None


def test_slots_that_do_not_agree_say_nothing():
    assert found(BUSY, BUSY | {"Machine": "ep2.example.org"}) is None


def test_a_slot_that_only_the_job_names_counts_where_the_job_cannot_name_it():
    assert found(IDLE) is None
    assert found(IDLE, trusted=True) == "ep1.example.org"
    assert found(IDLE | {"Name": "notebook1@iam.example.org"}, trusted=True) is None


@pytest.mark.parametrize(
    "slot", ['x" || true || Name == "y@z', "iam", "", None, "a@b\\", "a@" + 256 * "b"]
)
def test_no_name_of_a_slot_becomes_part_of_a_query(slot):
    view = JobView("12.0", JobState.RUNNING, slot=slot)
    assert constraint(view) == 'JobId =?= "12.0"'


def test_an_access_point_says_what_it_protects():
    ad = {"RoostProtectedJobAttrs": "A, remotehost JobStatus"}
    assert protects(ad, "RemoteHost")
    assert not protects({"RoostProtectedJobAttrs": "LastRemoteHost"}, "RemoteHost")
    assert not protects({}, "RemoteHost")
