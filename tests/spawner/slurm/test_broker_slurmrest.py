"""The client of slurmrestd against a double of it that answers as a real one did, or not at all."""

from __future__ import annotations

import asyncio
import json

import pytest
from roost_spawner.clusters.slurm.broker import slurmrest
from roost_spawner.clusters.slurm.broker.errors import (
    BadRequest,
    NoSuchNode,
    NotReached,
    SchedulerFailed,
    Unavailable,
)
from roost_spawner.clusters.slurm.broker.slurmrest import SlurmRest
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

pytestmark = pytest.mark.unit

KEY = b"k" * 32


class Daemon:
    """What the double answers, by method and path; counts what it is asked."""

    def __init__(self):
        self.asked = []
        self.queries = []
        self.answers = {}
        self.silent = set()


class Handler(web.RequestHandler):
    async def _answer(self):
        daemon = self.settings["daemon"]
        place = f"{self.request.method} {self.request.path.rpartition('v0.0.42/')[2]}"
        daemon.asked.append(place)
        if place in daemon.silent:
            await asyncio.sleep(60)
        if place == "GET /openapi/v3":
            await asyncio.sleep(0.05)
            self.write({"paths": {"/slurm/v0.0.42/job/submit": {}}})
            return
        daemon.queries.append(self.request.query)
        if daemon.answers[place] is None:
            self.set_status(304)
        else:
            self.write(json.dumps(daemon.answers[place]))

    get = post = delete = _answer


@pytest.fixture
async def daemon():
    found = Daemon()
    socket, found.port = bind_unused_port()
    server = HTTPServer(web.Application([(r".*", Handler)], daemon=found, log_function=id))
    server.add_socket(socket)
    yield found
    server.stop()
    await server.close_all_connections()


@pytest.fixture
async def slurm(daemon):
    found = SlurmRest(f"http://127.0.0.1:{daemon.port}", KEY, timeout=0.5)
    yield found
    found.close()


def error(number, words="words"):
    return [{"error_number": number, "error": words, "source": "slurm_submit_batch_job()"}]


async def test_the_version_is_negotiated_once_for_all_who_come_first(daemon, slurm):
    daemon.answers["GET jobs/"] = {"jobs": []}
    await asyncio.gather(*(slurm.jobs("reader") for _ in range(20)))
    assert daemon.asked.count("GET /openapi/v3") == 1


def listing(last_update, *ids):
    return {
        "jobs": [{"job_id": number} for number in ids],
        "last_update": {"set": True, "infinite": False, "number": last_update},
    }


async def test_jobs_that_did_not_change_are_not_sent_again(daemon, slurm):
    daemon.answers["GET jobs/"] = listing(100, 1, 2)
    first = await slurm.jobs("reader")
    daemon.answers["GET jobs/"] = listing(0) | {"warnings": [{"description": "No job changes"}]}
    assert await slurm.jobs("reader") == first == [{"job_id": 1}, {"job_id": 2}]
    assert daemon.queries[-1] == "update_time=100"
    daemon.answers["GET jobs/"] = listing(105)
    assert await slurm.jobs("reader") == [], "there are none any more"
    assert await slurm.jobs("reader") == []
    assert daemon.queries[-1] == "update_time=105"


async def test_jobs_are_asked_for_as_a_whole_now_and_then_and_for_another_account(
    daemon, slurm, monkeypatch
):
    daemon.answers["GET jobs/"] = listing(100, 1)
    await slurm.jobs("reader")
    await slurm.jobs("alice")
    assert daemon.queries[-2:] == ["", ""]
    monkeypatch.setattr(slurmrest, "_WHOLE_EVERY", -1.0)
    await slurm.jobs("alice")
    assert daemon.queries[-1] == ""


async def test_an_answer_that_nothing_was_modified_keeps_what_is_known(daemon, slurm):
    daemon.answers["GET jobs/"] = listing(100, 1)
    await slurm.jobs("reader")
    daemon.answers["GET jobs/"] = None
    assert await slurm.jobs("reader") == [{"job_id": 1}]


async def test_a_submit_that_came_no_further_than_the_version_was_not_taken(daemon, slurm):
    daemon.silent.add("GET /openapi/v3")
    with pytest.raises(NotReached):
        await slurm.submit("alice", {})
    assert daemon.asked == ["GET /openapi/v3"]


async def test_of_a_submit_without_an_answer_nobody_knows(daemon, slurm):
    daemon.silent.add("POST job/submit")
    with pytest.raises(Unavailable) as caught:
        await slurm.submit("alice", {})
    assert type(caught.value) is Unavailable


async def test_a_submit_that_waited_for_its_turn_in_vain_was_not_sent(daemon, slurm, monkeypatch):
    monkeypatch.setattr(slurmrest, "_MAX_CLIENTS", 1)
    daemon.answers["GET ping/"] = {}
    await slurm.ping("reader")
    daemon.silent.add("GET jobs/")
    slow = asyncio.ensure_future(slurm.jobs("reader"))
    await asyncio.sleep(0.01)
    slurm._timeout = 0.2
    with pytest.raises(NotReached):
        await slurm.submit("alice", {})
    with pytest.raises(Unavailable):
        await slow
    assert "POST job/submit" not in daemon.asked


async def test_what_is_refused_is_refused(daemon, slurm):
    daemon.answers["POST job/submit"] = {"errors": error(2066)}
    with pytest.raises(BadRequest, match="does not know the quality of service"):
        await slurm.submit("alice", {})
    daemon.answers["POST job/submit"] = {"errors": error(-1)}
    with pytest.raises(BadRequest, match="own rules"):
        await slurm.submit("alice", {})


async def test_a_job_that_slurm_numbers_and_fails_at_once_is_refused(daemon, slurm):
    daemon.answers["POST job/submit"] = {"job_id": 9, "errors": error(2014)}
    daemon.answers["GET job/9"] = {"jobs": [{"job_id": 9, "job_state": ["FAILED"]}]}
    with pytest.raises(NoSuchNode):
        await slurm.submit("alice", {})


async def test_a_job_that_slurm_keeps_is_submitted_whatever_else_it_says(daemon, slurm):
    daemon.answers["POST job/submit"] = {"job_id": 9, "errors": error(2118)}
    daemon.answers["GET job/9"] = {"jobs": [{"job_id": 9, "job_state": ["PENDING"]}]}
    assert await slurm.submit("alice", {}) == "9"


async def test_a_job_that_ended_before_its_cancel_came_is_cancelled(daemon, slurm):
    told = [{"error": {"code": 2021, "string": "Job/step already completing or completed"}}]
    daemon.answers["DELETE job/9"] = {"status": told}
    await slurm.cancel("alice", "9")
    daemon.answers["DELETE job/9"] = {"errors": error(2021)}
    await slurm.cancel("alice", "9")


async def test_a_wrong_key_is_told_to_the_admin(daemon, slurm):
    daemon.answers["GET jobs/"] = {"jobs": [], "errors": error(1007, "authentication error")}
    with pytest.raises(SchedulerFailed, match="does not take the broker's token"):
        await slurm.jobs("reader")
