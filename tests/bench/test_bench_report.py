from __future__ import annotations

import pytest

from bench.report import ratios, results, table

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
    found = results(RUNS, {"cores": 2})
    assert found["spawn_htcondor_vs_local"] == 1.5
    assert found["spawn_htcondor_vs_batchspawner"] == 0.5
    assert found["spawn_htcondor_vs_batchspawner_default_cycle"] == 0.1
    assert found["spawn_slurm_vs_local"] == 1.5
    assert found["spawn_htcondor_vs_local_server_up"] == 2.4
    assert found["spawn_slurm_vs_local_server_up"] == 2.4
    assert found["runs_seconds"]["roost-htcondor"] == [2.0, 3.0, 10.0]


def test_a_side_that_did_not_run_gives_no_ratio():
    found = results({**RUNS, "condor-default": []}, {})
    assert "spawn_htcondor_vs_batchspawner_default_cycle" not in found
    assert "default_cycle" not in ratios(found)


def test_the_table_shows_the_spread():
    line = next(line for line in table(RUNS).splitlines() if line.startswith("roost-htcondor"))
    assert line.split() == ["roost-htcondor", "3", "3.00", "2.00", "10.00"]
