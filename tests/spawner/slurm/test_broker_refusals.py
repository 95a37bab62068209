"""What Slurm's error numbers come to: what may be tried again, what is final, and the sentence."""

from __future__ import annotations

import pytest
from roost_spawner.clusters.slurm.broker.errors import (
    BadRequest,
    JobNotFound,
    NoSuchNode,
    NotReached,
    SchedulerFailed,
    Unavailable,
)
from roost_spawner.clusters.slurm.broker.refusals import ALREADY_DONE, error_of

pytestmark = pytest.mark.unit


def told(number, words="Slurm's words", what="job/submit"):
    return error_of([{"error_number": number, "error": words}], what)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1800, NotReached),  # no connection to slurmctld
        (1801, Unavailable),  # something may have been sent
        (1804, NotReached),  # too many calls
        (2014, NoSuchNode),
        (2017, JobNotFound),
        (2020, Unavailable),  # the job cannot be altered now
        (2027, NotReached),  # the backup controller
        (2070, BadRequest),
        (2999, BadRequest),
        (5004, Unavailable),
        (1007, SchedulerFailed),  # a token signed with another key
        (6000, SchedulerFailed),
        (0, SchedulerFailed),
    ],
)
def test_a_number_is_what_the_hub_can_act_on(number, kind):
    error = told(number)
    assert type(error) is kind
    assert f"Slurm error {number}: Slurm's words" in error.detail
    assert "Slurm's words" not in error.sentence or number == 2999


def test_a_job_that_has_ended_meanwhile_is_cancelled_already():
    assert told(ALREADY_DONE) is None


def test_common_refusals_are_sentences_for_users():
    assert told(2051).sentence == "More time was asked for than the partition allows."
    assert told(2070).sentence == "The partition takes no jobs at the moment."
    assert told(2999, "odd").sentence == "Slurm refused: odd."


def test_a_plugin_that_refuses_without_a_number_is_a_refusal_of_a_submit_only():
    refused = told(-1)
    assert type(refused) is BadRequest
    assert refused.sentence == "The cluster's own rules refuse this job."
    assert "slurmrestd's log" in refused.detail
    assert type(told(-1, what="jobs/")) is SchedulerFailed


def test_the_first_error_with_a_number_counts():
    errors = [{"description": "something"}, {"error_number": 2017, "error": "no job"}]
    assert type(error_of(errors, "job/7")) is JobNotFound
