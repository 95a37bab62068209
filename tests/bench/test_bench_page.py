from __future__ import annotations

import re
from pathlib import Path

import pytest
import roost_hub

from bench.page import viewers
from bench.page.report import percentile, results, spread

pytestmark = pytest.mark.unit


def test_ninety_nine_of_a_hundred_took_no_longer():
    assert percentile([float(number) for number in range(1, 101)], 0.99) == 99.0
    assert percentile([5.0], 0.99) == 5.0
    assert spread([3.0, 1.0, 2.0]) == {"count": 3, "p50": 2.0, "p95": 3.0, "p99": 3.0, "max": 3.0}


def test_the_keys_say_how_many_really_looked():
    found = {
        "viewers": 200,
        "load_ms": {"p99": 41.5},
        "asked_per_minute": {
            "1": {"htcondor": 9.8, "slurm": 9.7},
            "200": {"htcondor": 9.7, "slurm": 9.8},
        },
    }
    assert results(found) == {
        "spawn_page_p99_ms_200_viewers": 41.5,
        "spawn_page_queries_per_minute_200_viewers": 9.8,
        "spawn_page_queries_per_minute_1_viewer": 9.8,
    }


def test_viewers_refresh_as_the_page_does():
    page = (Path(roost_hub.__file__).parent / "templates/spawn.html").read_text()
    assert float(re.search(r"const EVERY = (\d+);", page)[1]) == 1000 * viewers.EVERY
    assert "EVERY * (0.9 + 0.2 * Math.random())" in page
    assert (1 - viewers.JITTER, 1 + viewers.JITTER) == (0.9, 1.1)
