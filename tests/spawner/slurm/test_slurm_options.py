"""Options of a profile: a closed list, at the hub and at the broker."""

from __future__ import annotations

import pytest
from roost_spawner.clusters.base import JobRequest, Launcher, Resources
from roost_spawner.clusters.slurm import options, submit

pytestmark = pytest.mark.unit

GOOD = {"nice": "50", "licenses": "matlab:2", "exclude": "gpu1,gpu[3-4]", "threads-per-core": "1"}


def request(**extras):
    resources = Resources(cpus=1, memory_mib=1024, walltime_s=3600, partition="gpu")
    launcher = Launcher(python="/usr/bin/python3", code="pass", ticket="t")
    return JobRequest("hub/0123456789abcdef", resources, launcher, extras)


def test_options_travel_and_become_slurm_s_fields():
    assert submit.payload(request(**GOOD))["options"] == GOOD
    assert options.fields(GOOD) == {
        "nice": 50,
        "licenses": "matlab:2",
        "excluded_nodes": ["gpu1", "gpu[3-4]"],
        "threads_per_core": 1,
    }


def test_the_agent_alone_can_be_warned_before_the_end():
    assert options.problem({"signal": "B:TERM@30"}) is None
    assert options.fields({"signal": "B:TERM@30"}) == {
        "kill_warning_signal": "TERM",
        "kill_warning_flags": ["BATCH_JOB"],
        "kill_warning_delay": 30,
    }


def test_without_options_nothing_travels():
    assert "options" not in submit.payload(request())


@pytest.mark.parametrize(
    "name",
    [
        "job-name",
        "comment",
        "output",
        "requeue",
        "array",
        "uid",
        "export",
        "chdir",
        "time",
        "mem",
        "dependency",
        "mail-user",
        "partition",
        "prolog",
        "Nice",
        "",
        "wrap",
    ],
)
def test_what_is_ours_cannot_be_set(name):
    assert "cannot be set here" in (submit.extras_problem({name: "1"}) or "")
    with pytest.raises(ValueError, match="cannot be set"):
        submit.payload(request(**{name: "1"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nice", "-5"),
        ("signal", "TERM@30"),
        ("signal", "B:KILL@30"),
        ("signal", "B:TERM@0"),
        ("nice", "x"),
        ("licenses", "a;b"),
        ("nodelist", ""),
        ("wckey", "a b"),
        ("nice", 5),
        ("licenses", "x\n"),
    ],
)
def test_odd_values_are_refused(name, value):
    assert "the value of" in (options.problem({name: value}) or "")
