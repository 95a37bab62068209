"""Raw submit commands of a profile: added to ours, never instead of them."""

from __future__ import annotations

import pytest
from roost_spawner.clusters.base import JobRequest, Launcher, Resources
from roost_spawner.clusters.htcondor.submit import description, extras_problem

pytestmark = pytest.mark.unit


def request(**extras):
    resources = Resources(cpus=1, memory_mib=1024, walltime_s=3600)
    launcher = Launcher(python="/usr/bin/python3", code="pass")
    return JobRequest("hub/0123456789abcdef", resources, launcher, extras)


def test_what_an_admin_adds_is_in_the_description():
    found = description(request(Rank="Mips", **{"+WantNvme": "true", "MY.Project": '"x"'}))
    assert found["rank"] == "Mips"
    assert found["My.WantNvme"] == "true"
    assert found["My.Project"] == '"x"'


def test_requirements_are_added_to_ours():
    ours = description(request())["requirements"]
    found = description(request(requirements='TARGET.Site == "b)c" || HasCvmfs'))
    assert found["requirements"] == f'{ours} && (TARGET.Site == "b)c" || HasCvmfs)'


@pytest.mark.parametrize(
    "name",
    [
        "executable",
        "Arguments",
        "universe",
        "environment",
        "getenv",
        "log",
        "output",
        "transfer_input_files",
        "should_transfer_files",
        "initialdir",
        "queue",
        "hold",
        "periodic_remove",
        "on_exit_hold",
        "leave_in_queue",
        "job_max_vacate_time",
        "request_memory",
        "notification",
        "nonsense",
        "+RoostSession",
        "My.RoostKeyHash",
        "+IsRoostNotebook",
        "+WantIOProxy",
        "my.owner",
        "+Requirements",
        "+LeaveJobInQueue",
        "+JobLeaseDuration",
        "+PeriodicRemove",
        "+Cmd",
        "+AcctGroup",
        "rank\nqueue 100",
    ],
)
def test_what_is_ours_cannot_be_overridden(name):
    assert extras_problem({name: "1"})
    with pytest.raises(ValueError, match=r"set"):
        description(request(**{name: "1"}))


@pytest.mark.parametrize(
    "value",
    ["true) || (true", "true //", "(true", "$(x)", "$$(Memory)", "", "true\nqueue", "'a", "/* x"],
)
def test_requirements_cannot_break_out(value):
    assert extras_problem({"requirements": value})


def test_the_same_command_twice_is_refused():
    assert "twice" in (extras_problem({"Rank": "1", "rank": "2"}) or "")
    assert "twice" in (extras_problem({"+A": "1", "My.a": "2"}) or "")
