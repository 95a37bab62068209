"""Job ads as real daemons showed them (HTCondor 23.9.6), and what the hub makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from roost_spawner.clusters.base import JobState
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
        ("evicted", JobState.ENDED, "moved off its node"),
        ("node_shut_down", JobState.ENDED, "moved off its node"),
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


def test_attributes_of_another_type_than_expected_do_no_harm():
    odd = {name: [1] for name in ad("running")} | {"ClusterId": 1, "ProcId": 0, "JobStatus": 5}
    assert view(odd).state is JobState.HELD
