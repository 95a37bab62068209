"""The worker tells the hub what is new in the queue, not all of it each time."""

from __future__ import annotations

import pytest
from roost_spawner.clusters.htcondor import worker

pytestmark = pytest.mark.unit


@pytest.fixture
def queue(monkeypatch):
    ads = {}
    monkeypatch.setattr(worker, "_told", {})
    monkeypatch.setattr(worker, "_jobs", lambda *_: [dict(ad) for ad in ads.values()])
    return ads


def ask(since=0):
    return worker._changes({}, {"constraint": "x", "since": since})


def put(queue, number, **more):
    queue[number] = {"ClusterId": number, "ProcId": 0, **more}


def test_the_first_answer_is_everything(queue):
    put(queue, 1)
    put(queue, 2)
    answer = ask()
    assert answer["whole"]
    assert set(answer["ads"]) == {"1.0", "2.0"}


def test_later_answers_are_what_changed_came_and_went(queue):
    for number in (1, 2, 3):
        put(queue, number, JobStatus=1)
    number = ask()["number"]
    put(queue, 2, JobStatus=2)
    put(queue, 4, JobStatus=1)
    del queue[3]
    answer = ask(number)
    assert not answer["whole"]
    assert set(answer["ads"]) == {"2.0", "4.0"}
    assert answer["gone"] == ["3.0"]
    again = ask(answer["number"])
    assert (again["ads"], again["gone"]) == ({}, [])


def test_whoever_missed_an_answer_gets_everything(queue):
    put(queue, 1)
    number = ask()["number"]
    ask(number)
    assert ask(number)["whole"]
    assert ask(0)["whole"]
