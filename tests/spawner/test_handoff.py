"""What somebody who is not the job, or not this job, gets from the hub: nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from dataclasses import replace

import pytest
from jupyterhub import apihandlers
from roost_spawner.bootstrap import agent_source
from roost_spawner.clusters.base import JobState
from roost_spawner.handoff import HANDLERS, PREFIX, quiet
from roost_spawner.sessions import registry

from tests.support.handoff import new_key, proved

pytestmark = pytest.mark.hub


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("roost_spawner.proof.prove.__kwdefaults__", {"patience": 0.5})
    quiet._seen.clear()


async def test_batchspawners_own_callback_is_gone(hub):
    patterns = [pattern for pattern, _ in apihandlers.default_handlers]
    assert r"/api/batchspawner" not in patterns
    code, _ = await hub.fetch("POST", "api/batchspawner", {"port": 1})
    assert code == 404


async def test_the_agent_is_served_by_its_hash_only(hub):
    source, digest = agent_source()
    code, answer = await hub.fetch("GET", f"api/{PREFIX}agent/{digest}.py", token=None)
    assert (code, answer["text"]) == (200, source.decode())
    code, _ = await hub.fetch("GET", f"api/{PREFIX}agent/{'0' * 64}.py", token=None)
    assert code == 404


async def test_the_agents_of_earlier_hubs_are_served_and_only_those_whole(hub, tmp_path):
    session = await hub.submitted()
    session.host.agent_folder = str(tmp_path)
    older, cut = b"print('an older agent')\n", b"print('half an"
    digest, lost = (hashlib.sha256(text).hexdigest() for text in (older, cut + b" agent')"))
    (tmp_path / f"{digest}.py").write_bytes(older)
    (tmp_path / f"{lost}.py").write_bytes(cut)
    code, answer = await hub.fetch("GET", f"api/{PREFIX}agent/{digest}.py", token=None)
    assert (code, answer["text"]) == (200, older.decode())
    code, answer = await hub.fetch("GET", f"api/{PREFIX}agent/{lost}.py", token=None)
    assert (code, set(answer)) == (404, {"status", "message"})
    assert agent_source()[1] != digest


async def test_the_job_gets_the_bundle_and_may_ask_again_until_ready(hub):
    session, key, token = await proved(hub)
    code, again = await hub.handoff(session, "bundle", {"key": key})
    assert code == 200
    assert again["env"]["JUPYTERHUB_API_TOKEN"] == token
    assert again["tokens"]["default"]["value"].startswith("token-of-alice")
    assert again["env"]["JUPYTERHUB_SERVICE_URL"].endswith("/user/alice/")
    assert "PATH" not in again["env"]
    assert (await hub.handoff(session, "ready", {"port": 40001}, token))[0] == 200
    code, answer = await hub.handoff(session, "bundle", {"key": key})
    assert (code, set(answer)) == (403, {"status", "message"})


async def test_the_job_may_call_before_the_submit_was_answered(hub):
    hub.pool.submit_delay = 0.2
    session = await hub.spawn()
    key, digest = new_key()

    async def run():
        await asyncio.sleep(0.3)
        hub.pool.start("1.0", digest)

    (code, _), _ = await asyncio.gather(hub.handoff(session, "bundle", {"key": key}), run())
    assert code == 200


async def restarted(hub, user="alice"):
    """Forget all that a hub has in memory; return the session as the next one takes it up."""
    old = hub.spawner(user)
    registry._sessions.clear()
    hub.app.users[old.user.orm_user].spawners.pop("")
    adopted = hub.app.users[user].spawners[""].session
    assert adopted is not old.session
    return adopted


async def test_the_same_key_may_ask_again_from_a_hub_restarted_in_between_and_no_other(hub):
    session, key, token = await proved(hub)
    start = hub.spawner()._spawn_future
    adopted = await restarted(hub)
    assert adopted.record.key_hash == session.record.key_hash != ""
    # The ad now shows another key: what was bound stays bound.
    other, digest = new_key()
    hub.pool.move(session.record.job_id, key_hash=digest)
    assert (await hub.handoff(adopted, "bundle", {"key": other}))[0] == 403
    code, bundle = await hub.handoff(adopted, "bundle", {"key": key})
    assert code == 200
    # The new hub knows the old token's hash only, and hands out another; the old one is nobody's.
    new = bundle["env"]["JUPYTERHUB_API_TOKEN"]
    assert new != token
    assert (await hub.handoff(adopted, "ready", {"port": 40001}, token))[0] == 403
    assert (await hub.handoff(adopted, "ready", {"port": 40001}, new))[0] == 200
    assert (await hub.handoff(adopted, "bundle", {"key": key}))[0] == 403
    assert (await hub.handoff(await restarted(hub), "bundle", {"key": key}))[0] == 403
    start.cancel()


async def test_a_ticket_is_bound_to_its_first_key_over_a_restart_too(hub):
    session = await hub.submitted(profile="gpu")
    start = hub.spawner()._spawn_future
    ticket = hub.gpus.requests[0].launcher.ticket
    hub.gpus.start(session.record.job_id)
    body = {"key": new_key()[0], "ticket": ticket}
    assert (await hub.handoff(session, "bundle", body))[0] == 200
    adopted = await restarted(hub)
    assert (await hub.handoff(adopted, "bundle", body | {"key": new_key()[0]}))[0] == 403
    assert (await hub.handoff(adopted, "bundle", body))[0] == 200
    start.cancel()


async def test_another_key_than_the_ads_is_refused(hub):
    session = await hub.submitted()
    hub.pool.start(session.record.job_id, new_key()[1])
    code, answer = await hub.handoff(session, "bundle", {"key": new_key()[0]})
    assert (code, set(answer)) == (403, {"status", "message"})
    assert session.record.key_hash == ""


async def test_a_second_key_is_refused_even_if_the_ad_changes(hub):
    session, _, _ = await proved(hub)
    key, digest = new_key()
    hub.pool.move(session.record.job_id, key_hash=digest)
    assert (await hub.handoff(session, "bundle", {"key": key}))[0] == 403


async def test_of_many_callers_one_gets_in_and_the_scheduler_is_asked_once_at_a_time(hub):
    session = await hub.submitted()
    key, digest = new_key()
    hub.pool.calls.clear()
    calls = [hub.handoff(session, "bundle", {"key": new_key()[0]}) for _ in range(20)]
    calls.append(hub.handoff(session, "bundle", {"key": key}))

    async def run():
        await asyncio.sleep(0.2)
        hub.pool.start(session.record.job_id, digest)

    codes = [code for code, _ in (await asyncio.gather(run(), *calls))[1:]]
    assert codes == [403] * 20 + [200]
    assert hub.pool.calls.count("look") < 30


async def test_no_proof_yet_is_no_refusal(hub):
    session = await hub.submitted()
    code, answer = await hub.handoff(session, "bundle", {"key": new_key()[0]})
    assert (code, set(answer)) == (409, {"status", "message"})


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "mallory"},
        {"mark": "test-hub/another"},
        {"subject": "subject-of-mallory"},
        {"issuer": "https://other.example.org/"},
        {"state": JobState.HELD},
        {"state": JobState.ENDED},
    ],
)
async def test_a_job_that_is_not_quite_ours_gets_nothing(hub, changes):
    session = await hub.submitted()
    key, digest = new_key()
    hub.pool.start(session.record.job_id, digest)
    hub.pool.move(session.record.job_id, **changes)
    assert (await hub.handoff(session, "bundle", {"key": key}))[0] == 403


async def test_a_ticket_counts_only_while_the_job_runs_and_for_one_key(hub):
    session = await hub.submitted(profile="gpu")
    ticket = hub.gpus.requests[0].launcher.ticket
    body = {"key": new_key()[0], "ticket": ticket}
    assert (await hub.handoff(session, "bundle", body))[0] == 409
    hub.gpus.start(session.record.job_id)
    wrong = {"key": new_key()[0], "ticket": "x" * 43}
    assert (await hub.handoff(session, "bundle", wrong))[0] == 403
    assert (await hub.handoff(session, "bundle", {"key": new_key()[0]}))[0] == 403
    assert (await hub.handoff(session, "bundle", body))[0] == 200
    assert (await hub.handoff(session, "bundle", body))[0] == 200
    assert (await hub.handoff(session, "bundle", body | {"key": new_key()[0]}))[0] == 403


async def test_an_unknown_or_finished_session_is_gone(hub):
    assert (await hub.handoff("0" * 32, "bundle", {"key": new_key()[0]}))[0] == 410
    assert (await hub.handoff("0" * 32, "tokens", {}, "whatever"))[0] == 410
    session, _, token = await proved(hub)
    await hub.fetch("DELETE", "api/users/alice/server")
    assert await hub.settled() is None
    for what, body in [("tokens", {}), ("ready", {"port": 40001}), ("bundle", {"key": "0" * 64})]:
        assert (await hub.handoff(session, what, body, token))[0] == 410


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("bundle", {"key": "0" * 64, "port": 1}),
        ("bundle", {"key": "0" * 63}),
        ("bundle", {"key": 1}),
        ("bundle", {"key": "0" * 64, "ticket": "a'b"}),
        ("bundle", []),
        ("bundle", "no json"),
        ("bundle", b"\xff\xfe"),
        ("bundle", b"[" * 60000),
        ("bundle", b'{"key":' * 9000),
        ("bundle", '{"key": "' + "0" * 64 + '", "key": "' + "1" * 64 + '"}'),
        ("bundle", json.dumps({"key": "0" * 64}).encode("utf-16")),
        ("bundle", b"\xef\xbb\xbf" + json.dumps({"key": "0" * 64}).encode()),
        ("bundle", {"key": "\uff10" * 64}),
        ("bundle", {"key": "0" * 64 + "\n"}),
        ("bundle", {"key": "0" * 64, "ticket": ["a" * 43]}),
        ("bundle", {"k\u0435y": "0" * 64}),
        ("ready", '{"port": NaN}'),
        ("ready", '{"port": 40001.0}'),
        ("ready", '{"port": 1e999}'),
        ("ready", '{"port": 4' + "0" * 5000 + "}"),
        ("ready", '{"port": -40001}'),
        ("ready", {"port": {"port": 40001}}),
        ("ready", {"port": 40001, "ip": "10.0.0.1"}),
        ("ready", {"port": "40001"}),
        ("ready", {"port": True}),
        ("ready", {"port": 80}),
        ("ready", {"port": 70000}),
        ("tokens", {"audience": "https://other.example.org"}),
        ("event", {"kind": "reboot", "reason": ""}),
        ("event", {"kind": "ended"}),
        ("event", {"kind": "ended", "reason": "x" * 501}),
        ("event", {"kind": "ended", "reason": "", "log_tail": "x" * 20000}),
        ("event", {"kind": "ended", "reason": "", "user": "bob"}),
        ("event", {"kind": ["ended"], "reason": ""}),
        ("event", {"kind": "evicting", "reason": "", "seconds_left": -1}),
        ("event", {"kind": "evicting", "reason": "", "seconds_left": 3601}),
        ("event", {"kind": "evicting", "reason": "", "seconds_left": True}),
        ("event", {"kind": "evicting", "reason": "", "seconds_left": 29.5}),
        ("event", '{"kind": "evicting", "reason": "", "seconds_left": Infinity}'),
    ],
)
async def test_other_fields_and_values_are_refused_and_change_nothing(hub, what, body):
    session, _, token = await proved(hub)
    before = session.record
    code, answer = await hub.handoff(session, what, body, token)
    assert (code, set(answer)) == (400, {"status", "message"})
    assert session.record == before


async def test_another_sessions_token_is_refused(hub):
    session, _, _ = await proved(hub)
    hub.pool.stubborn = True
    other, _, theirs = await proved(hub, "mallory")
    named, _, named_token = await proved(hub, "alice", "two")
    own = hub.app.users["alice"].new_api_token(note="alice's own")
    before = session.record
    for token in (theirs, named_token, own, "nonsense", None):
        for what, body in [
            ("ready", {"port": 40001}),
            ("tokens", {}),
            ("event", {"kind": "ended", "reason": "x"}),
        ]:
            code, answer = await hub.handoff(session, what, body, token)
            assert (code, set(answer)) == (403, {"status", "message"}), (token, what)
    assert session.record == before
    assert not other.record.ready
    assert not named.record.ready


async def test_a_ready_session_does_not_move_to_another_port(hub):
    session, _, token = await proved(hub)
    assert (await hub.handoff(session, "ready", {"port": 40001}, token))[0] == 200
    assert (await hub.handoff(session, "ready", {"port": 40001}, token))[0] == 200
    assert (await hub.handoff(session, "ready", {"port": 40002}, token))[0] == 403
    assert session.record.port == 40001


async def test_tokens_are_fresh_ones_and_the_owners(hub):
    session, _, token = await proved(hub)
    code, answer = await hub.handoff(session, "tokens", {}, token)
    assert code == 200
    fresh = answer["tokens"]["default"]
    assert fresh["value"].startswith("token-of-alice")
    assert 60 < fresh["refresh_in"] < 90
    hub.shepherd.gone.add("alice")
    code, answer = await hub.handoff(session, "tokens", {}, token)
    assert (code, set(answer)) == (503, {"status", "message", "token_states"})
    standing = answer["token_states"]["default"]
    assert standing["state"] == "missing"
    assert standing["message"].endswith("Please log in again.")


async def test_whom_the_provider_does_not_know_any_more_gets_neither_bundle_nor_tokens(
    hub, monkeypatch
):
    session, key, token = await proved(hub)

    async def nobody(authenticator, user, handler):
        return False

    monkeypatch.setattr(type(hub.app.authenticator), "may_have_tokens", nobody, raising=False)
    code, answer = await hub.handoff(session, "tokens", {}, token)
    assert code == 200
    assert answer["tokens"] == {}
    assert answer["token_states"]["default"]["state"] == "missing"
    assert "may not use this hub any more" in answer["token_states"]["default"]["message"]
    assert (await hub.handoff(session, "bundle", {"key": key}))[0] == 410


async def test_how_late_renewed_tokens_come_is_in_the_hubs_metrics(hub, monkeypatch):
    session, _, token = await proved(hub)
    given = hub.shepherd.access_token

    async def issued(owner, **what):
        return replace(await given(owner, **what), issued_at=time.time() - 3)

    async def lag():
        _, answer = await hub.fetch("GET", "metrics")
        return float(re.search(r"roost_token_delivery_seconds_sum (\S+)", answer["text"])[1])

    monkeypatch.setattr(hub.shepherd, "access_token", issued)
    await hub.handoff(session, "tokens", {}, token)
    before = await lag()
    await hub.handoff(session, "tokens", {}, token)
    tokens = len(session.delivered)
    assert 3 * tokens <= await lag() - before < 4 * tokens


async def test_the_server_role_is_not_needed_and_handlers_are_there_once():
    found = [entry for entry in apihandlers.default_handlers if entry in HANDLERS]
    assert len(found) == len(HANDLERS)
    assert all(session.record.id for session in registry)
