from __future__ import annotations

import pytest
from roost_spawner.clusters.slurm.broker import rules
from roost_spawner.clusters.slurm.broker.wishes import Wish

pytestmark = pytest.mark.unit

FACT = {
    "name": "gpu",
    "accounts": {"allowed": "physics,chemistry", "deny": ""},
    "qos": {"allowed": "", "deny": "long"},
}
NODES = [
    {"partitions": ["gpu"], "features": ["a100", "nvlink"]},
    {"partitions": ["cpu"], "features": ["v100"]},
]
RESERVATIONS = [{"name": "school"}]


def said(fact=FACT, **change):
    wish = Wish("#!/bin/sh\n", "hub/x", "gpu", 1, 1, 1, **change)
    return list(rules.problems(wish, fact=fact, nodes=NODES, reservations=RESERVATIONS))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"account": "physics"},
        {"qos": "short"},
        {"constraint": "a100"},
        {"constraint": "[a100*2|nvlink]"},
        {"reservation": "school"},
    ],
)
def test_what_the_partition_takes_has_no_problem(change):
    assert said(**change) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"account": "biology"}, "Partition gpu does not take the account biology."),
        ({"qos": "long"}, "Partition gpu does not take the qos long."),
        ({"constraint": "a100&v100"}, "No node of partition gpu has the feature v100."),
        ({"reservation": "summer"}, "Slurm has no reservation summer."),
    ],
)
def test_what_it_does_not_take_is_named(change, problem):
    assert said(**change) == [problem]


def test_a_partition_for_all_takes_all():
    assert said({"accounts": {"allowed": "ALL", "deny": ""}}, account="biology") == []
    assert said({}, account="biology") == []


def test_what_slurm_tells_nobody_is_told_to_be_unknown():
    wish = Wish("", "", "gpu", 1, 1, 1, account="physics", qos="x", options={"nice": "1"})
    found = list(rules.unchecked(wish))
    assert ["account physics" in found[0], "qos x" in found[1], "nice" in found[2]] == [True] * 3
    assert list(rules.unchecked(Wish("", "", "gpu", 1, 1, 1))) == []
