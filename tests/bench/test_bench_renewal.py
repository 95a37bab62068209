from __future__ import annotations

import pytest

from bench.renewal.measure import Options, results, too_soon

pytestmark = pytest.mark.unit


def test_one_refresh_for_each_deadline_is_none_too_many():
    assert too_soon({"a": [0.0, 400.0, 780.0], "b": [3.0]}, 600) == 0


def test_a_second_refresh_for_one_deadline_is_counted():
    assert too_soon({"a": [0.0, 400.0, 401.0], "b": [5.0, 5.1]}, 600) == 2


def test_small_tries_are_not_for_the_results():
    assert Options().full
    assert not Options(grants=500).full
    assert not Options(minutes=2).full


def test_a_token_that_was_not_had_counts_as_expired():
    found = {"cpu_percent": 5.123, "duplicates": 0, "expired": 1, "failed": 2}
    figures = results(found | {"handout_ms": {"p99": 3.456}})
    assert figures == {
        "renewal_5000_grants_cpu_percent": 5.12,
        "renewal_duplicates": 0,
        "renewal_expired": 3,
        "token_handout_p99_ms": 3.46,
    }
