from __future__ import annotations

import pytest

from bench.report import phases, phases_of, ratios, results, table
from testbed.demo.person import Ready

pytestmark = pytest.mark.unit

RUNS = {
    "roost-htcondor": [2.0, 3.0, 10.0],
    "roost-slurm": [3.0],
    "condor-nb": [6.0],
    "condor-default": [30.0, 30.0],
    "local": [2.0, 2.0],
    "local-up": [1.0, 1.5],
}


def test_ratios_are_of_medians_and_ours_is_above_the_line():
    found = results(RUNS)
    assert found["spawn_htcondor_vs_local"] == 1.5
    assert found["spawn_htcondor_vs_batchspawner"] == 0.5
    assert found["spawn_htcondor_vs_batchspawner_default_cycle"] == 0.1
    assert found["spawn_slurm_vs_local"] == 1.5
    assert found["spawn_htcondor_vs_local_server_up"] == 2.4
    assert found["spawn_slurm_vs_local_server_up"] == 2.4
    assert found["runs_seconds"]["roost-htcondor"] == [2.0, 3.0, 10.0]


def test_a_side_that_did_not_run_gives_no_ratio():
    found = results({**RUNS, "condor-default": []})
    assert "spawn_htcondor_vs_batchspawner_default_cycle" not in found
    assert "default_cycle" not in ratios(found)


def test_the_table_shows_the_spread():
    line = next(line for line in table(RUNS).splitlines() if line.startswith("roost-htcondor"))
    assert line.split() == ["roost-htcondor", "3", "3.00", "2.00", "10.00"]


def test_phases_are_told_by_what_the_page_says_and_one_that_was_not_said_is_left_out():
    said = ("asking", "Job 1.0 is in the queue of pool.", "The server answers.", "ready")
    start = Ready("", 1.0, said, (0.0, 0.1, 0.9, 1.0))
    assert phases_of([(start, 1.25), (start, 1.25)]) == {
        "submit": 0.1,
        "server starts": 0.8,
        "the hub checks it and sets the route": 0.1,
        "first answer": 0.25,
    }
    shown = phases({"roost-htcondor": phases_of([(start, 1.25)]), "roost-slurm": {"submit": 0.5}})
    assert shown.splitlines()[1].split() == ["submit", "0.100", "0.500"]
