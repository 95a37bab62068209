"""Which jobs are sessions, and how many submits of an account are under way."""

from __future__ import annotations

import pytest
from roost_spawner.clusters.slurm.broker import marks, views
from roost_spawner.clusters.slurm.broker.marks import Marks
from roost_spawner.clusters.slurm.broker.quota import Submits

pytestmark = pytest.mark.unit

MARK = "hub/abcdefgh"


def row(comment, **more):
    return {"job_id": 5, "user_id": 1000, "name": "roost", "comment": comment, **more}


@pytest.mark.parametrize("later", ["", "ticket 4711", "hub/otherone", "\ufffd\ufffd", None, 7])
def test_a_job_keeps_its_mark_whatever_is_noted_on_it(later):
    seen, noted = Marks(), Marks()
    assert seen.of(row(MARK)) == MARK
    noted.note(5, 1000, MARK)
    for known in (seen, noted):
        assert known.of(row(later, name="renamed")) == MARK


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "/",
        "hub/",
        "hub/short",
        "hub/abcdefgh\n",
        " hub/abcdefgh",
        "hub/abc defgh",
        "a/b/c" * 9,
        "hub/abcdefg\ufffd",
        None,
        5,
        ["hub/abcdefgh"],
    ],
)
def test_what_is_no_mark_to_the_letter_is_none(comment):
    assert Marks().of(row(comment)) is None


def test_a_number_that_another_account_has_used_is_another_job():
    known = Marks()
    known.note(5, 1000, MARK)
    assert known.of(row("", user_id=1001)) is None
    assert known.of({"job_id": "5", "user_id": 1000, "comment": MARK}) is None


def test_the_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(marks, "_MOST", 2)
    known = Marks()
    for number in range(3):
        known.note(number, 1000, MARK)
    assert known.of({"job_id": 0, "user_id": 1000}) is None
    assert known.of({"job_id": 2, "user_id": 1000}) == MARK


@pytest.mark.parametrize("text", ["\ufffd\ufffd", "a\nb", "\ud800", "x" * 70_000, "\x1b[31m"])
def test_what_a_job_is_called_goes_out_bounded_and_on_one_line(text):
    shown = views.job(row(text, state_description=text, state_reason=text, exit_code=[text]))
    assert all(len(str(value)) <= 2000 for value in shown.values())
    assert shown["description"].isprintable()
    shown["description"].encode()


# -- submits under way -----------------------------------------------------------------------------


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_submit_that_takes_long_counts_for_those_that_come_after_it():
    clock = Clock()
    submits = Submits(clock)
    with submits.begin("alice") as first, submits.begin("alice") as second:
        clock.now = 130.0
        assert submits.before("alice", first, 129.0) == 0
        assert submits.before("alice", second, 129.0) == 1
    with submits.begin("alice") as third, submits.begin("bob") as other:
        assert submits.before("alice", third, 129.0) == 2
        assert submits.before("alice", third, 130.5) == 0  # the listing shows both
        assert submits.before("bob", other, 129.0) == 0


def test_what_was_refused_does_not_count_and_what_got_no_answer_does():
    submits = Submits(Clock())
    for error in (ValueError, OSError):
        with pytest.raises(error), submits.begin("alice", ValueError):
            raise error
    with submits.begin("alice") as mine:
        assert submits.before("alice", mine, 0.0) == 1
