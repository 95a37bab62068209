"""What strangers can do to the handoff interface: big, slow, odd and many requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time

import pytest
from roost_spawner.handoff import PREFIX, _Handler, quiet
from roost_spawner.proof import FREE_LOOKS, looks
from roost_spawner.record import SessionState

from tests.support.handoff import head, new_key, proved, talk

pytestmark = pytest.mark.hub


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("roost_spawner.proof.prove.__kwdefaults__", {"patience": 0.5})
    quiet._seen.clear()


def door(hub):
    return "127.0.0.1", hub.app.hub.port


HUNDRED_MB = 100_000_000


@pytest.mark.parametrize("what", ["bundle", "ready", "nowhere", "bundle/nowhere"])
async def test_a_hundred_megabytes_are_refused_at_their_announcement(hub, what, caplog):
    session = await hub.submitted()
    request = head(session.record.id, f"Content-Length: {HUNDRED_MB}", what=what)
    answer, _ = await talk(door(hub), request)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer
    assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"status", "message"}
    # And who sends them all the same does not get far: what the kernels hold, not what we do.
    answer, sent = await talk(door(hub), request, b"x" * 65536, HUNDRED_MB)
    assert not answer or answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1") <= 1
    assert sent < 20_000_000
    assert "Malformed" not in caplog.text


async def test_a_body_of_unknown_length_is_refused_before_it_is_read(hub, monkeypatch):
    received = []
    monkeypatch.setattr(_Handler, "data_received", lambda _, chunk: received.append(chunk))
    session = await hub.submitted()
    request = head(session.record.id, "Transfer-Encoding: chunked")
    answer, _ = await talk(door(hub), request)
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b"Connection: close" in answer
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    answer, sent = await talk(door(hub), request, chunk, HUNDRED_MB)
    assert not answer or answer.startswith(b"HTTP/1.1 411 ")
    assert sent < 20_000_000
    assert not received


@pytest.mark.parametrize("length", ["abc", "-1", "1_0", "9" * 5000, "\u0664", "10, 20"])
async def test_a_length_that_is_none_is_refused_without_a_word_in_the_log(hub, length, caplog):
    session = await hub.submitted()
    caplog.clear()
    answer, _ = await talk(
        door(hub), head(session.record.id, f"Content-Length: {length}") + b"{}" * 10
    )
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert not [line for line in caplog.records if line.levelname == "ERROR"]


async def test_a_slow_body_is_cut_off_with_408(hub, monkeypatch):
    monkeypatch.setattr("roost_spawner.handoff.BODY_TIMEOUT", 0.3)
    session = await hub.submitted()
    began = time.monotonic()
    answer, _ = await talk(door(hub), head(session.record.id, "Content-Length: 90") + b"{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 5


async def test_a_body_that_drips_has_no_more_time_than_one_that_stands_still(hub, monkeypatch):
    monkeypatch.setattr("roost_spawner.handoff.BODY_TIMEOUT", 0.3)
    session = await hub.submitted()
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.app.hub.port)
    writer.write(head(session.record.id, "Content-Length: 9000"))

    async def drip():
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"{")
                await writer.drain()
                await asyncio.sleep(0.05)

    drops = asyncio.ensure_future(drip())
    answer = await asyncio.wait_for(reader.read(), 5)
    drops.cancel()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"]
)
async def test_what_is_not_announced_as_json_is_refused(hub, kind):
    session, _, token = await proved(hub)
    path = f"api/{PREFIX}sessions/{session.record.id}/ready"
    headers = {"Content-Type": kind}
    code, answer = await hub.fetch("POST", path, {"port": 40001}, token, headers)
    assert (code, set(answer)) == (415, {"status", "message"})
    assert not session.record.ready
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await hub.fetch("POST", path, {"port": 40001}, token, headers))[0] == 200


async def test_nothing_answers_below_the_paths_but_what_is_there(hub):
    session = await hub.submitted()
    for method, path in [
        ("GET", f"sessions/{session.record.id}/bundle"),
        ("PUT", f"sessions/{session.record.id}/bundle"),
        ("GET", f"sessions/{session.record.id}"),
        ("GET", "sessions/"),
        ("POST", f"sessions/{session.record.id}/stop"),
        ("GET", "agent/../../../etc/passwd"),
        ("GET", f"agent/{'0' * 64}"),
    ]:
        body = {} if method in {"POST", "PUT"} else None
        code, answer = await hub.fetch(method, f"api/{PREFIX}{path}", body, token=None)
        assert code in (404, 405), (method, path)
        assert set(answer) <= {"status", "message"}


async def test_every_refusal_of_a_proof_reads_the_same_whatever_was_wrong(hub):
    answers = []
    session = await hub.submitted()
    key, digest = new_key()
    hub.pool.start(session.record.job_id, digest)
    answers.append(await hub.handoff(session, "bundle", {"key": new_key()[0]}))
    hub.pool.move(session.record.job_id, owner="mallory")
    answers.append(await hub.handoff(session, "bundle", {"key": key}))
    hub.pool.move(session.record.job_id, owner="alice")
    code, bundle = await hub.handoff(session, "bundle", {"key": key})
    assert code == 200
    answers.append(await hub.handoff(session, "bundle", {"key": new_key()[0]}))
    token = bundle["env"]["JUPYTERHUB_API_TOKEN"]
    assert (await hub.handoff(session, "ready", {"port": 40001}, token))[0] == 200
    answers.append(await hub.handoff(session, "bundle", {"key": key}))
    gpu = await hub.submitted("bob", profile="gpu")
    hub.gpus.start(gpu.record.job_id)
    answers.append(await hub.handoff(gpu, "bundle", {"key": key, "ticket": "x" * 43}))
    assert [code for code, _ in answers] == [403] * 5
    assert all(answer == answers[0][1] for _, answer in answers)


async def test_a_scheduler_that_is_away_is_not_described_to_strangers(hub):
    session = await hub.submitted()
    waiting = await hub.handoff(session, "bundle", {"key": new_key()[0]})
    hub.pool.down = True
    away = await hub.handoff(session, "bundle", {"key": new_key()[0]})
    assert waiting == away == (409, {"status": 409, "message": "Not now; ask again."})
    assert not session.record.over


async def test_an_unknown_session_and_one_that_is_over_read_the_same(hub):
    session, key, token = await proved(hub)
    await hub.fetch("DELETE", "api/users/alice/server")
    assert await hub.settled() is None
    for what, body in [("bundle", {"key": key}), ("tokens", {})]:
        for shown in (token, None, "nonsense"):
            over = await hub.handoff(session, what, body, shown)
            unknown = await hub.handoff("0" * 32, what, body, shown)
            assert over == unknown
            assert over[0] == 410


async def test_a_crowd_of_strangers_neither_keeps_the_job_out_nor_asks_the_scheduler(hub):
    session = await hub.submitted()
    key, digest = new_key()
    hub.pool.calls.clear()
    codes = []

    async def stranger():
        while True:
            codes.append((await hub.handoff(session, "bundle", {"key": new_key()[0]}))[0])

    strangers = [asyncio.ensure_future(stranger()) for _ in range(30)]
    await asyncio.sleep(3)
    # In the queue the job is looked at a few times and then only by the watcher.
    assert hub.pool.calls.count("look") <= FREE_LOOKS
    hub.pool.start(session.record.job_id, digest)
    end = time.monotonic() + 10
    while (answer := await hub.handoff(session, "bundle", {"key": key}))[0] in (409, 429):
        assert time.monotonic() < end
    assert answer[0] == 200
    for task in strangers:
        task.cancel()
    await asyncio.gather(*strangers, return_exceptions=True)
    assert set(codes) <= {403, 409, 429}
    assert 429 in codes
    assert hub.pool.calls.count("look") <= FREE_LOOKS + 20
    assert session.record.key_hash == digest


async def test_more_callers_than_the_hub_can_bear_are_turned_away_at_once(hub, monkeypatch):
    monkeypatch.setattr("roost_spawner.proof.MAX_CALLERS", 5)
    session = await hub.submitted()
    calls = [hub.handoff(session, "bundle", {"key": new_key()[0]}) for _ in range(9)]
    codes = sorted([code for code, _ in await asyncio.gather(*calls)])
    assert codes == [409] * 5 + [429] * 4
    # And nothing of it stays.
    key, digest = new_key()
    hub.pool.start(session.record.job_id, digest)
    assert (await hub.handoff(session, "bundle", {"key": key}))[0] == 200


async def settles(condition, limit=5):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_nobodys_proof_is_waited_for(hub, monkeypatch):
    monkeypatch.setattr("roost_spawner.proof.prove.__kwdefaults__", {"patience": 60})
    session = await hub.submitted()
    _, writer = await asyncio.open_connection("127.0.0.1", hub.app.hub.port)
    body = json.dumps({"key": new_key()[0]}).encode()
    writer.write(head(session.record.id, f"Content-Length: {len(body)}") + body)
    await settles(lambda: looks._callers == looks._patient == 1)
    writer.close()
    await settles(lambda: looks._callers == looks._patient == 0)


async def test_the_log_has_one_line_for_a_hundred_refusals_of_a_kind(hub, caplog):
    session, key, token = await proved(hub)
    for _ in range(2):
        await hub.handoff(session, "bundle", {"key": new_key()[0]})
        await hub.handoff(session, "tokens", {}, "nonsense")
    caplog.clear()
    for number in range(100):
        await hub.handoff(session, "bundle", {"key": new_key()[0]})
        await hub.handoff(session, "tokens", {}, "nonsense")
        await hub.handoff(session, "bundle", {"key": key, "x": number})
        await hub.handoff(f"{number:032x}", "bundle", {"key": key})
        await hub.handoff(session, "event", {"kind": "evicting", "reason": "x"}, token)
    said = [line for line in caplog.records if line.levelno >= logging.WARNING]
    assert len(said) <= 4, [line.getMessage() for line in said]
    told = [line for line in caplog.records if "evicting" in line.getMessage()]
    assert len(told) <= 1


async def test_what_a_server_says_forges_no_line_in_the_log(hub, caplog):
    session, _, token = await proved(hub)
    evil = "over\n[E] forged\r\x1b[2J\u202e\u2028\ud800\x85end"
    event = {"kind": "failed", "reason": evil, "log_tail": "one\n[E] forged\ud800"}
    assert (await hub.handoff(session, "event", event, token))[0] == 200
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "\n[E] forged" not in text
    assert "    | [E] forged?" in text
    for char in "\r\x1b\u202e\u2028\ud800\x85":
        assert char not in text
    assert "over" in session.record.why


async def test_an_eviction_tells_how_long_is_left(hub):
    session, _, token = await proved(hub)
    event = {"kind": "evicting", "reason": "the scheduler takes the node back", "seconds_left": 30}
    assert (await hub.handoff(session, "event", event, token))[0] == 200
    assert session.record.state is SessionState.EVICTING
    assert "30 s" in session.record.why
