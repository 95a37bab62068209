"""Bodies from strangers: what is taken, what is refused, and that a refusal repeats nothing."""

from __future__ import annotations

import json

import pytest
from roost_spawner import intake
from roost_spawner.intake import BadBody
from roost_spawner.quiet import Quiet

pytestmark = pytest.mark.unit

PORT = {"port": intake.is_port}


def test_a_body_has_the_fields_it_should_have_and_an_empty_one_none():
    assert intake.read(b'{"port": 40001}', PORT) == {"port": 40001}
    assert intake.read(b" {} ", {}, PORT) == {}
    assert intake.read(b"", {}) == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'{"port": 40001} x',
        b'{"port": 40001, "port": 40001}',
        b'{"port": 40001, "secret-name": 1}',
        b'{"port": NaN}',
        b'{"port": -Infinity}',
        b'{"port": 1e5}',
        b'{"port": true}',
        b'{"port": "secret-value"}',
        b'{"port": {"secret-name": {}}}',
        b'{"port": ' + b"9" * 10_000 + b"}",
        b"[" * 60_000,
        b'{"port":' * 9_000,
        '{"port": 40001}'.encode("utf-16"),
        '{"port": 40001}'.encode("utf-32-le"),
        b'\xef\xbb\xbf{"port": 40001}',
        b'{"port": 40001, "\xff": 1}',
    ],
)
def test_a_refusal_says_what_is_wrong_and_repeats_nothing(raw):
    with pytest.raises(BadBody) as refused:
        intake.read(raw, PORT)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (intake.is_key, ["0f" * 32], ["0F" * 32, "0" * 65, "0" * 64 + "\n", "\uff10" * 64, b"0"]),
        (intake.is_ticket, ["a-Z_9" * 5], ["short", "a b" * 9, "a" * 129, None]),
        (intake.is_port, [1024, 65535], [1023, 65536, 40001.0, True, "40001", None]),
        (intake.is_event, ["evicting"], ["Evicting", ["evicting"], {}, None]),
        (intake.is_seconds_left, [0, 3600], [-1, 3601, 1.5, False, None]),
        (intake.text(3), ["", "abc"], ["abcd", 1, None]),
        (
            intake.is_json,
            ["application/json", "Application/JSON ; charset=utf-8"],
            ["", "text/json", "application/json-seq", "text/plain;application/json"],
        ),
    ],
)
def test_a_field_takes_this_and_not_that(check, good, bad):
    assert all(check(value) for value in good)
    assert not any(check(value) for value in bad)


def test_a_text_for_the_log_moves_hides_and_forges_nothing():
    evil = "a\r\x1b[2J\u202eb\u2028c\u200bd\ud800e\x85f\x00g"
    assert intake.printable(evil) == "a??[2J?b?c?d?e?f?g"
    assert intake.printable("zażółć\n\tgęślą 漢字") == "zażółć\n\tgęślą 漢字"
    assert intake.one_line("a\n[E] b\n\n\tc ") == "a [E] b c"
    json.dumps(intake.printable(evil)).encode()


def test_one_line_of_a_kind_passes_and_the_next_says_how_many_did_not(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    quiet = Quiet(every=60, kinds=2)
    assert quiet.due("403", "a") == ""
    assert [quiet.due("403", "a") for _ in range(5)] == [None] * 5
    assert quiet.due("403", "b") == ""
    now = 1061.0
    assert quiet.due("403", "a") == " (5 more like the last one)"
    assert quiet.due("410", "") == ""
    assert len(quiet._seen) == 2
