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

OUT_OF_MEMORY = "The session used more memory than it had asked for (256 MiB)."
PUT_BACK = "The job was put back into the queue; a notebook does not start a second time."
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
    "cancelled-by-admin-and-saved": (JobState.ENDED, "The job was cancelled."),
    "no-input-or-output": (JobState.ENDED, "gpu1.example.org could not start the job."),
    "node-set-down": (JobState.ENDED, "The node gpu1.example.org failed."),
    "out-of-memory": (JobState.ENDED, OUT_OF_MEMORY),
    "out-of-memory-in-a-child": (JobState.ENDED, OUT_OF_MEMORY),
    "pending-all-nodes-drained": (
        JobState.QUEUED,
        "The nodes are down, being drained, or reserved.",
    ),
    "pending-maintenance": (
        JobState.QUEUED,
        "The nodes are reserved for maintenance, now or before the job would end.",
    ),
    "pending-partition-inactive": (
        JobState.QUEUED,
        "The partition starts no jobs at the moment.",
    ),
    "preempted": (
        JobState.ENDED,
        "The node gpu1.example.org was needed for a job that comes first.",
    ),
    "prolog-failed": (JobState.ENDED, "The job was cancelled."),
    "prolog-failed-requeued": (
        JobState.HELD,
        "The job could not be started on its node, and is held.",
    ),
    "requeued": (JobState.HELD, PUT_BACK),
    "requeued-completing": (JobState.HELD, PUT_BACK),
    "requeued-held": (JobState.HELD, PUT_BACK),
    "running": (JobState.RUNNING, ""),
    "running-held": (JobState.RUNNING, ""),
    "timeout-by-end": (JobState.ENDED, "The time limit of 1 minute was reached."),
    "running-gpu": (JobState.RUNNING, ""),
    "suspended": (JobState.SUSPENDED, "Slurm has suspended the job."),
    "timeout": (JobState.ENDED, "The time limit of 1 minute was reached."),
}


def seen(name):
    raw = CAPTURED[name]
    return states.view(views.job(raw, mark=raw["comment"], node_domain="example.org"))


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


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("cancelled-by-admin", Cause.REMOVED),
        ("completed", Cause.FINISHED),
        ("failed-3", Cause.FAILED),
        ("node-fail", Cause.NODE_LOST),
        ("nobody", Cause.HELD),
        ("out-of-memory", Cause.OUT_OF_MEMORY),
        ("pending-held-admin", Cause.HELD),
        ("pending-resources", None),
        ("preempted", Cause.EVICTED),
        ("prolog-failed-requeued", Cause.FAILED),
        ("requeued", Cause.EVICTED),
        ("requeued-held", Cause.EVICTED),
        ("running-held", None),
        ("suspended", None),
        ("timeout", Cause.WALLTIME),
    ],
)
def test_a_captured_job_has_its_cause(name, cause):
    assert seen(name).cause is cause


@pytest.mark.parametrize("words", ["RUNNING", "SUSPENDED"])
def test_a_job_that_was_put_back_and_runs_again_is_no_session(words):
    record = views.job(CAPTURED["requeued"]) | {"state": [words], "reason": "None"}
    view = states.view(record)
    assert (view.state, view.cause, view.reason) == (JobState.HELD, Cause.EVICTED, PUT_BACK)


def test_a_job_that_ended_after_a_restart_has_ended():
    record = views.job(CAPTURED["requeued"]) | {"state": ["COMPLETED"]}
    assert states.view(record).state is JobState.ENDED


@pytest.mark.parametrize(
    ("name", "by_owner", "sentence"),
    [
        ("cancelled-by-admin-and-saved", None, "The job was cancelled."),
        ("cancelled-by-admin-and-saved", True, ""),
        (
            "cancelled-by-admin-and-saved",
            False,
            "The job was cancelled by an administrator, or with scancel.",
        ),
        (
            "cancelled-pending",
            False,
            "The job was cancelled by an administrator, or with scancel.",
        ),
        ("prolog-failed", False, "gpu1 could not start the job, or somebody cancelled it at once."),
    ],
)
def test_who_cancelled_is_told_if_it_is_known(name, by_owner, sentence):
    view = states.view(views.job(CAPTURED[name], by_owner=by_owner))
    assert (view.state, view.cause) == (JobState.ENDED, Cause.REMOVED)
    assert view.reason == sentence


def test_a_failure_before_the_program_ran_says_so():
    record = {"job_id": "1", "state": ["FAILED"], "reason": "SystemFailure", "exit_code": 1}
    assert states.view(record).reason == "Slurm itself failed to start the job."


def test_the_end_is_slurms_own_which_moves():
    began = CAPTURED["running"]["start_time"]["number"]
    assert seen("running").ends_at == began + 300
    moved = CAPTURED["running"] | {"end_time": {"set": True, "number": began + 30}}
    assert states.view(views.job(moved)).ends_at == began + 30
    assert seen("pending-priority").ends_at is None
    assert seen("timeout").ends_at is None
