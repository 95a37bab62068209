from __future__ import annotations

import pytest

from bench.scale.report import asked_per_minute, results, table

pytestmark = pytest.mark.unit


def steady(sessions, **changes):
    usual = {
        "sessions": sessions,
        "cpu_percent": 2.0,
        "kib_per_session": 300.0,
        "asked_per_minute": {"htcondor": 4.0, "slurm": 4.1},
        "asked_per_minute_starting": {"htcondor": 28.0, "slurm": 5.0},
    }
    return usual | changes


FOUND = {
    "size": 100,
    "noop": steady(1000, cpu_percent=1.5, kib_per_session=200.0),
    "roost": steady(1000),
    "stalls": {"noop": {"stall_ms": [100, 200, 900]}, "roost": {"stall_ms": [210, 230, 250]}},
}


def test_submits_and_removals_are_no_questions_and_clusters_are_counted_apart():
    before = {"htcondor changes": 10, "htcondor submit": 5}
    after = {
        "htcondor changes": 14,
        "htcondor jobs": 2,
        "htcondor submit": 105,
        "htcondor remove": 7,
        "slurm GET": 3,
        "slurm POST": 9,
    }
    assert asked_per_minute(before, after, 120.0) == {"htcondor": 3.0, "slurm": 1.5}


def test_figures_are_differences_to_the_no_op_and_ratios_of_medians():
    figures = results(FOUND)
    assert figures["queries_per_minute_1000_sessions"] == 4.1
    assert figures["queries_per_minute_1000_sessions_starting"] == 28.0
    assert figures["hub_cpu_percent_1000_sessions"] == 0.5
    assert figures["loop_stall_vs_noop_100_spawns"] == 1.15
    assert figures["memory_kib_per_session"] == 100.0
    assert figures["memory_kib_per_session_with_jupyterhubs"] == 300.0
    assert not [key for key in figures if key.startswith("batchspawner")]
    assert "1.15" in table(figures)


def test_the_keys_say_how_many_sessions_there_really_were():
    figures = results(FOUND | {"roost": steady(400)})
    assert "hub_cpu_percent_400_sessions" in figures


def test_batchspawners_figures_stand_beside_ours():
    peer = steady(100, asked_per_minute={"condor_q": 200.0})
    figures = results(FOUND | {"batchspawner": peer, "batchspawner_stall_ms": [1, 2, 3]})
    assert figures["batchspawner_queries_per_minute_100_sessions"] == 200.0
    assert figures["batchspawner_stall_ms_100_spawns"] == 2


def test_servers_that_batchspawner_lost_are_told_and_no_other_figure_is_made_up():
    figures = results(FOUND | {"batchspawner_lost": 100})
    assert figures["batchspawner_lost_of_100_spawns"] == 100
    assert len([key for key in figures if key.startswith("batchspawner")]) == 1


def test_one_part_alone_has_its_own_figures():
    alone = results({name: FOUND[name] for name in ("size", "stalls")})
    assert list(alone) == ["loop_stall_vs_noop_100_spawns"]
    assert "memory_kib_per_session" in results({name: FOUND[name] for name in ("noop", "roost")})
