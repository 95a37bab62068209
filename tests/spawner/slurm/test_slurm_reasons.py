"""Every reason that a Slurm of 24.11 or 26.05 can give is told in a sentence of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from roost_spawner.clusters.slurm import reasons

pytestmark = pytest.mark.unit

REASONS = [
    line
    for line in (Path(__file__).parents[2] / "data/slurm/reasons.txt").read_text().splitlines()
    if not line.startswith("#")
]


def test_slurm_has_this_many_reasons():
    assert len(REASONS) == len(set(REASONS)) == 217


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_slurm_has_a_sentence(reason):
    assert reasons.known(reason)
    said = reasons.sentence(reason)
    assert not said.startswith("Slurm says")
    assert said == "" if reason == "None" else said.endswith(".")


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (
            "QOSMaxJobsPerUserLimit",
            "A limit of your quality of service is reached: running jobs per user",
        ),
        ("AssocGrpCpuLimit", "A limit of your group is reached: CPUs"),
        ("AssocMaxJobsLimit", "A limit of your account is reached: running jobs"),
        (
            "MaxCpuRunMinsPerUser",
            "A limit of your quality of service is reached: CPUs, counted in minutes per user",
        ),
        ("AssocMaxMemPerJob", "More was asked for than your account allows one job: memory"),
        (
            "QOSMinCpuNotSatisfied",
            "Less was asked for than your quality of service demands: CPUs",
        ),
    ],
)
def test_limits_say_whose_and_of_what(reason, sentence):
    assert reasons.sentence(reason) == f"{sentence} ({reason})."


def test_a_reason_without_a_name_is_passed_on():
    assert reasons.sentence("SomethingNew") == "Slurm says: SomethingNew."
    assert not reasons.known("SomethingNew")


def test_a_job_that_its_node_could_not_start_is_told_from_one_that_somebody_holds():
    words = "launch failed requeued held"
    said = reasons.sentence("JobHeldUser", words)
    assert said == "The job could not be started on its node, and is held."
    assert reasons.launch_failed(words)


def test_the_nodes_that_are_missing_are_named():
    said = reasons.sentence("ReqNodeNotAvail", "ReqNodeNotAvail, UnavailableNodes:gpu[1-2],fat3")
    assert said == "The nodes are down, being drained, or reserved: gpu[1-2],fat3."
