"""Job ads as real daemons showed them (HTCondor 23.9.6), and what the hub makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from roost_spawner.clusters.base import Cause, JobState
from roost_spawner.clusters.htcondor import codes
from roost_spawner.clusters.htcondor.states import view

pytestmark = pytest.mark.unit

ADS = Path(__file__).parents[2] / "data/htcondor"


def ad(name):
    return json.loads((ADS / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("idle", JobState.QUEUED, ""),
        ("running", JobState.RUNNING, ""),
        ("evicted", JobState.ENDED, "taken off its node"),
        ("node_shut_down", JobState.ENDED, "taken off its node"),
        ("exited", JobState.ENDED, "status 3"),
        ("killed", JobState.ENDED, "signal 9"),
        ("removed_but_running", JobState.EVICTING, ""),
        ("walltime_over", JobState.ENDED, "time was up"),
        ("out_of_memory", JobState.HELD, "more memory than its slot has (1280 MiB)"),
    ],
)
def test_a_captured_ad_has_its_state_and_says_why(name, state, words):
    found = view(ad(name))
    assert found.state is state
    assert words in found.reason
    assert bool(found.reason) is bool(words)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("idle", None),
        ("running", None),
        ("evicted", Cause.EVICTED),
        ("node_shut_down", Cause.EVICTED),
        ("exited", Cause.FAILED),
        ("killed", Cause.FAILED),
        ("walltime_over", Cause.WALLTIME),
        ("out_of_memory", Cause.OUT_OF_MEMORY),
        ("out_of_memory_then_removed", Cause.REMOVED),
        ("held_by_admin", Cause.HELD),
        ("held_by_owner", Cause.HELD),
        ("held_then_removed", Cause.HELD),
        ("no_program", Cause.FAILED),
        ("no_program_then_removed", Cause.FAILED),
        ("no_agent", Cause.FAILED),
        ("vacated_fast", Cause.EVICTED),
        ("drained", Cause.EVICTED),
        ("removed_by_admin", Cause.REMOVED),
        ("removed_by_owner", Cause.REMOVED),
        ("stopped", Cause.REMOVED),
    ],
)
def test_a_captured_ad_has_its_cause(name, cause):
    assert view(ad(name)).cause is cause


def test_the_end_of_the_walltime_is_known_while_it_runs():
    began = ad("running")["JobCurrentStartExecutingDate"]
    found = view(ad("running") | {"RoostWalltime": 3600, "JobCurrentStartDate": began})
    assert (found.started_at, found.ends_at) == (began, began + 3600)
    assert view(ad("idle")).ends_at is None


def test_what_a_node_holds_since_its_time_is_up_says_that():
    held = {
        "JobStatus": 5,
        "HoldReasonCode": 21,
        "HoldReason": "Error from ep1: Roost: walltime over",
    }
    found = view(ad("running") | held)
    assert (found.cause, found.reason) == (Cause.WALLTIME, "The notebook's time was up.")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("removed_by_admin", "An admin (condor) has removed the job."),
        ("removed_by_admin_reason", 'An admin (condor) has removed the job: "cleaning up".'),
        ("removed_by_owner", "The job was removed on your own behalf, outside JupyterHub."),
        ("stopped", ""),
        ("held_by_admin", 'An admin (condor) put the notebook\'s job on hold: "maintenance".'),
        ("held_by_owner", "You put the notebook's job on hold."),
        ("held_then_removed", "You put the notebook's job on hold."),
    ],
)
def test_what_was_done_by_hand_says_by_whom(name, words):
    assert view(ad(name)).reason == words


def test_what_the_access_point_removes_after_a_hold_keeps_the_hold_s_reason():
    first, later = view(ad("no_program")), view(ad("no_program_then_removed"))
    assert (later.cause, later.reason) == (first.cause, first.reason)
    assert later.state is JobState.ENDED


def test_what_the_access_point_removes_after_an_eviction_keeps_its_reason():
    found = view(ad("vacated_fast"))
    assert "Its owner or an admin took it off its node." in found.reason


def test_a_node_out_of_reach_is_no_eviction():
    found = view(ad("evicted") | {"VacateReasonCode": 1008})
    assert found.cause is Cause.NODE_LOST
    assert found.reason == "The node was out of reach for too long."


def test_every_code_of_the_manual_has_words():
    assert set(codes.HOLDS) == set(range(1, 49))
    assert set(codes.VACATES) == set(range(1000, 1020))
    assert all(words.endswith(".") for _, words in codes.HOLDS.values())


def test_a_running_job_shows_whose_it_is_and_where():
    found = view(ad("running"))
    assert found.owner == "alice"
    assert found.issuer == "https://iam.roost.test:8443"
    assert found.subject
    assert found.mark
    assert found.mark.startswith("roost-test/")
    assert found.slot
    assert found.slot.startswith("notebook")
    assert found.node in {"ep1.roost.test", "ep2.roost.test"}


def test_an_evicted_job_that_waits_again_is_over():
    assert view(ad("running") | {"JobStatus": 1, "RemoteHost": None}).state is JobState.ENDED


def test_a_job_whose_program_has_not_begun_is_starting():
    early = {k: v for k, v in ad("running").items() if k != "JobCurrentStartExecutingDate"}
    assert view(early).state is JobState.STARTING


@pytest.mark.parametrize("status", [0, 8, 99, None, "2", 2.5])
def test_a_status_without_a_name_is_unknown_and_never_dead(status):
    found = view(ad("running") | {"JobStatus": status})
    assert found.state in {JobState.UNKNOWN, JobState.RUNNING}
    assert found.state.alive


@pytest.mark.parametrize(
    ("code", "subcode", "words"),
    [(34, 102, "memory"), (34, 104, "disk"), (6, 2, "could not start"), (999, 0, "on hold")],
)
def test_a_hold_is_told_in_plain_words_and_the_log_has_the_codes(code, subcode, words):
    held = {"JobStatus": 5, "HoldReasonCode": code, "HoldReasonSubCode": subcode}
    found = view(ad("running") | held | {"HoldReason": "as HTCondor says"})
    assert words in found.reason
    assert "as HTCondor says" in found.detail
    assert str(code) in found.detail


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("via condor_rm (by user condor)", "An admin (condor) has removed the job."),
        ("disk quota (by user condor)", 'An admin (condor) has removed the job: "disk quota".'),
        ("old (by user alice)", 'removed on your own behalf, outside JupyterHub: "old".'),
        ("Too many files in /home", 'The access point has removed the job: "Too many files'),
        (
            "The system macro SYSTEM_PERIODIC_REMOVE expression 'x > 1' evaluated to TRUE",
            "The access point has removed the job.",
        ),
        ("two\nlines  here (by user condor)", ': "two lines here".'),
        ("x" * 999, f': "{"x" * 199}…".'),
    ],
)
def test_who_removes_a_job_is_quoted(said, words):
    found = view(ad("running") | {"JobStatus": 3, "RemoveReason": said})
    assert found.reason.endswith(words) or words in found.reason
    assert found.cause is Cause.REMOVED
    assert len(found.reason) < 300


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (
            1,
            "via condor_hold (by user condor)",
            "An admin (condor) put the notebook's job on hold.",
        ),
        (
            1,
            "repair (by user condor)",
            'An admin (condor) put the notebook\'s job on hold: "repair".',
        ),
        (26, "Too much scratch", 'A policy of the access point put the job on hold: "Too much'),
        (26, "The system macro SYSTEM_PERIODIC_HOLD expression 'x' evaluated to TRUE", "on hold."),
    ],
)
def test_who_holds_a_job_is_quoted(code, said, words):
    found = view(ad("running") | {"JobStatus": 5, "HoldReasonCode": code, "HoldReason": said})
    assert words in found.reason
    assert found.cause is Cause.HELD


def test_attributes_of_another_type_than_expected_do_no_harm():
    odd = {name: [1] for name in ad("running")} | {"ClusterId": 1, "ProcId": 0, "JobStatus": 5}
    assert view(odd).state is JobState.HELD
