from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest

from bench import measure
from bench.measure import Side, interleaved, start_once
from bench.peers import PEERS, UP, Peer
from testbed.demo.person import Ready

pytestmark = pytest.mark.unit


@dataclass
class FakePerson:
    answers: list[int] = field(default_factory=list)
    stopped: int = 0

    async def start(self, profile):
        return Ready("", 2.0, ())

    async def server_api(self, method, path):
        return (self.answers.pop(0) if self.answers else 200), None

    async def stop(self):
        self.stopped += 1


def side(name, rounds, **options):
    return Side(name, FakePerson(), "", lambda: True, rounds, **options)


async def test_a_start_counts_from_the_click_to_the_first_answer_and_is_stopped():
    one = side("x", 1)
    one.person.answers = [503, 503]
    seconds = (await start_once(one))["x"]
    assert 2.02 <= seconds < 2.5
    assert one.person.stopped == 1


async def test_what_a_server_says_of_itself_is_measured_from_the_same_click():
    one = side("local", 1, up=lambda: time.time() - 0.5)
    seconds = await start_once(one)
    assert seconds["local-up"] == pytest.approx(1.5, abs=0.2)
    assert seconds["local"] == pytest.approx(2.0, abs=0.2)


async def test_no_side_always_follows_the_same_one_and_each_has_its_rounds():
    said = []
    runs = await interleaved([side("a", 3), side("b", 1), side("c", 3)], said.append)
    order = [line.split()[2] for line in said]
    assert order == ["a", "b", "c", "c", "a", "c", "a"]
    assert {name: len(seconds) for name, seconds in runs.items()} == {"a": 3, "b": 1, "c": 3}


async def test_a_job_that_stays_is_a_sentence_and_not_a_hang():
    with pytest.raises(TimeoutError, match="a job stayed"):
        await measure._until(lambda: False, "a job stayed", limit=0)


def test_the_line_by_which_a_local_server_says_that_it_is_up_is_found():
    log = (
        "[I 2026-11-20 23:21:40.332 JupyterHub log:192] 204 DELETE /hub/api/users/alice/server\n"
        "[I 2026-11-20 23:21:42.928 ServerApp] Jupyter Server 2.21.1 is running at:\n"
        "[I 2026-11-20 23:21:54.381 ServerApp] Jupyter Server 2.21.1 is running at:\n"
    )
    assert UP.findall(log) == ["2026-11-20 23:21:42.928", "2026-11-20 23:21:54.381"]


def test_only_the_peer_for_notebooks_submits_where_the_submit_wakes_their_negotiator():
    assert [peer.name for peer in PEERS if peer.client] == ["condor-nb"]
    assert Peer("x", 1).client == {}
