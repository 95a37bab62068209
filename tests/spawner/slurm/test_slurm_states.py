"""Slurm's words, captured from a real 24.11.5, through the broker's view into ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from roost_spawner.clusters.base import Cause, JobState
from roost_spawner.clusters.slurm import states
from roost_spawner.clusters.slurm.broker import views

pytestmark = pytest.mark.unit

CAPTURED = json.loads(
    (Path(__file__).parents[2] / "data/slurm/jobs-24.11.5.json").read_text(encoding="utf-8")
)

EXPECTED = {
    "bad-constraints": (JobState.ENDED, "No node of this cluster has what was asked for."),
    "cancelled-by-admin": (JobState.ENDED, "The job was cancelled."),
    "cancelled-by-admin-completing": (JobState.EVICTING, "The job was cancelled."),
    "cancelled-completing": (JobState.EVICTING, "The job was cancelled."),
    "cancelled-pending": (JobState.ENDED, "The job was cancelled."),
    "completed": (JobState.ENDED, "The server has ended."),
    "dependency-never": (JobState.QUEUED, "The job waits for another job."),
    "failed-127": (
        JobState.ENDED,
        "The profile's Python is not there, or cannot run, on gpu1.example.org.",
    ),
    "failed-3": (JobState.ENDED, "The job failed with exit status 3."),
    "failed-signal": (
        JobState.ENDED,
        ("The node killed the job; it may have used more memory than it had asked for."),
    ),
    "nobody": (JobState.HELD, "An administrator holds the job."),
    "node-fail": (JobState.ENDED, "The node gpu1.example.org failed."),
    "pending-begin-time": (JobState.QUEUED, "The job's begin time has not come yet."),
    "pending-dependency": (JobState.QUEUED, "The job waits for another job."),
    "pending-drained": (JobState.QUEUED, "The nodes are down, being drained, or reserved."),
    "pending-held-admin": (JobState.HELD, "An administrator holds the job."),
    "pending-held-user": (JobState.HELD, "The job is held at its owner's wish."),
    "pending-node-down": (
        JobState.QUEUED,
        "The nodes are down, being drained, or reserved: gpu1.",
    ),
    "pending-partition-down": (JobState.QUEUED, "The partition is out of service."),
    "pending-partition-time-limit": (
        JobState.QUEUED,
        "More time was asked for than the partition allows.",
    ),
    "pending-priority": (JobState.QUEUED, "Other jobs come first."),
    "pending-resources": (JobState.QUEUED, "Nothing is free at the moment; yours is next."),
    "running": (JobState.RUNNING, ""),
    "running-gpu": (JobState.RUNNING, ""),
    "suspended": (JobState.SUSPENDED, "Slurm has suspended the job."),
    "timeout": (JobState.ENDED, "The time limit of 1 minute was reached."),
}


def seen(name):
    return states.view(views.job(CAPTURED[name], node_domain="example.org"))


def test_every_captured_job_is_expected_somewhere():
    assert set(CAPTURED) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_captured_job_gets_the_right_state_and_sentence(name):
    view = seen(name)
    assert (view.state, view.reason) == EXPECTED[name]


def test_a_running_job_shows_whose_it_is_and_where():
    view = seen("running-gpu")
    assert (view.owner, view.node, view.slot) == ("alice", "gpu1.example.org", "gpu")
    assert view.mark == "hub/abc"
    assert views.job(CAPTURED["running-gpu"])["gpus"] == 1


def test_detail_keeps_slurms_own_words_for_the_log():
    assert seen("failed-signal").detail == (
        "FAILED, RaisedSignal, RaisedSignal:9(Killed), signal 9"
    )


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("RUNNING", "CONFIGURING"), JobState.STARTING),
        (("RUNNING", "COMPLETING"), JobState.EVICTING),
        (("RUNNING", "STOPPED"), JobState.SUSPENDED),
        (("RUNNING", "SIGNALING"), JobState.RUNNING),
        (("RUNNING", "SOME_NEW_FLAG"), JobState.RUNNING),
        (("PENDING", "SOME_NEW_FLAG"), JobState.QUEUED),
        (("PENDING", "REQUEUE_HOLD"), JobState.HELD),
        (("PENDING", "SPECIAL_EXIT"), JobState.HELD),
        (("PREEMPTED", "COMPLETING"), JobState.EVICTING),
        (("PREEMPTED", "REQUEUED"), JobState.EVICTING),
        (("OUT_OF_MEMORY",), JobState.ENDED),
        (("BOOT_FAIL",), JobState.ENDED),
        (("DEADLINE",), JobState.ENDED),
        (("PENDING", "COMPLETING"), JobState.QUEUED),
        (("PENDING", "EXPEDITING"), JobState.QUEUED),
        (("PENDING", "RESV_DEL_HOLD"), JobState.HELD),
        (("PENDING", "REVOKED"), JobState.QUEUED),
        (("RUNNING", "POWER_UP_NODE", "CONFIGURING"), JobState.STARTING),
        (("RUNNING", "RESIZING"), JobState.RUNNING),
        (("RUNNING", "RECONFIG_FAIL"), JobState.RUNNING),
        (("RUNNING", "REQUEUE_FED"), JobState.RUNNING),
        (("COMPLETED", "STAGE_OUT"), JobState.EVICTING),
        (("CANCELLED", "COMPLETING", "SIGNALING"), JobState.EVICTING),
        (("FAILED", "LAUNCH_FAILED"), JobState.ENDED),
    ],
)
def test_flags_beside_a_base_state(words, state):
    assert states.state_of(frozenset(words)) is state


@pytest.mark.parametrize(
    "words", [(), ("BRAND_NEW",), ("FAILED", "BRAND_NEW"), ("RUNNING", "FAILED"), ("COMPLETING",)]
)
def test_what_has_no_name_is_unknown_and_alive(words):
    state = states.state_of(frozenset(words))
    assert state is JobState.UNKNOWN
    assert state.alive


LIVING = {"job_id": "1", "state": ["RUNNING"], "reason": "None", "restarts": 1}
CANCELLED = {"job_id": "1", "state": ["CANCELLED"]}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"state": ["PENDING", "COMPLETING"]},
        {"state": ["PENDING"], "reason": "BeginTime"},
        {"state": ["SUSPENDED"]},
        {
            "state": ["PENDING"],
            "reason": "JobHeldUser",
            "description": "job requeued in held state",
        },
    ],
)
def test_a_job_that_was_put_back_is_never_taken_for_a_session(change):
    view = states.view(LIVING | change)
    assert (view.state, view.cause) == (JobState.HELD, Cause.EVICTED)
    assert "does not start a second time" in view.reason


def test_a_job_that_ended_after_a_restart_has_ended():
    assert states.view(LIVING | {"state": ["COMPLETED"]}).state is JobState.ENDED


def test_a_job_that_its_node_could_not_start_has_failed():
    words = {"state": ["PENDING"], "description": "launch failed requeued held"}
    view = states.view(LIVING | words | {"reason": "JobHeldUser"})
    assert (view.state, view.cause) == (JobState.HELD, Cause.FAILED)
    assert view.reason == "The job could not be started on its node, and is held."


@pytest.mark.parametrize(
    ("by_owner", "sentence"),
    [
        (None, "The job was cancelled."),
        (True, ""),
        (False, "The job was cancelled by an administrator, or with scancel."),
    ],
)
def test_who_cancelled_is_told_if_it_is_known(by_owner, sentence):
    view = states.view(CANCELLED | {"by_owner": by_owner})
    assert (view.cause, view.reason) == (Cause.REMOVED, sentence)


def test_a_failure_before_the_program_ran_says_so():
    record = {"job_id": "1", "state": ["FAILED"], "reason": "SystemFailure", "exit_code": 1}
    assert states.view(record).reason == "Slurm itself failed to start the job."
