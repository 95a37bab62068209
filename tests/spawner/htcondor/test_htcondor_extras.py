"""Raw submit commands of a profile: added to ours, never instead of them."""

from __future__ import annotations

import pytest
from roost_spawner.clusters.base import JobRequest, Launcher, Resources
from roost_spawner.clusters.htcondor import commands
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


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("priority", "high", "a whole number"),
        ("Priority", "1.5", "a whole number"),
        ("priority", "Memory +", "a whole number"),
        ("request_disk", "lots", "an amount"),
        ("request_disk", "-1", "an amount"),
        ("request_disk", "lots of", "an amount"),
        ("request_disk", "10 XB", "an amount"),
        ("stack_size", "big", "a number without a unit"),
        ("stack_size", "2MB", "a number without a unit"),
        ("request_disk", "10GiB", "an amount"),
        ("gpus_minimum_memory", "lots", "an amount"),
        ("nice_user", "maybe", "true or false"),
        ("want_graceful_removal", "yes", "true or false"),
        ("cuda_version", "new", "a version"),
        ("gpus_minimum_capability", "high", "a version"),
    ],
)
def test_a_value_of_another_kind_than_the_command_takes_is_refused_by_name(name, value, allowed):
    said = extras_problem({name: value})
    assert said is not None
    assert said.startswith(f"{name} is {value!r}; allowed is {allowed}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority", "-5"),
        ("request_disk", "10GB"),
        ("request_disk", "1.5 g"),
        ("request_disk", "1048576"),
        ("request_disk", "RequestMemory * 1024"),
        ("request_disk", "ifThenElse(Big =?= true, 4000000, 1000)"),
        ("nice_user", "True"),
        ("cuda_version", "12.4"),
        ("accounting_group", "cms.alice"),
        ("+Project", '"atlas"'),
        ("+Project", '"atlas'),  # this only HTCondor's parser tells
    ],
)
def test_what_a_command_may_be_is_allowed(name, value):
    assert extras_problem({name: value}) is None


def test_expressions_are_told_from_numbers_and_text():
    given = {
        "+Project": '"atlas',
        "My.X": "1",
        "RANK": "Memory",
        "requirements": "HasCvmfs",
        "request_disk": "RequestMemory * 2",
        "stack_size": "2048",
        "nice_user": "true",
        "priority": "1",
        "accounting_group": "a b",
    }
    found = commands.expressions(given)
    assert set(found) == {"+Project", "My.X", "RANK", "requirements", "request_disk"}


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('Parse error in expression: \n\tProject = "atlas\n\t', "+Project"),
        ("Parse error in expression: \n\tRank = Memory +\n\t", "rank"),
        ("Parse error in expression: \n\tRequestDisk = lots of\n\t", "request_disk"),
        ("priority=high is invalid, must eval to an integer.\n", "priority"),
        ("Invalid accounting_group: a b\n", "accounting_group"),
        ("Parse error in expression: Requirements = (Rank =?= 1 && (foo bar))", "requirements"),
    ],
)
def test_the_command_that_htcondor_means_is_found_in_its_words(said, name):
    given = {
        "+Project": '"atlas',
        "rank": "Memory +",
        "request_disk": "lots of",
        "priority": "high",
        "accounting_group": "a b",
        "requirements": "foo bar",
        "batch_name": "a",
    }
    assert commands.blamed(said, given) == [name]
    assert commands.blamed("something new", given) == []
