"""Access tokens of sessions that JupyterHub shares with others."""

from __future__ import annotations

import json

import pytest
from jupyterhub import orm, roles
from roost_spawner import sharing
from roost_spawner.delivery import SHARED

from tests.support.handoff import proved

pytestmark = pytest.mark.hub

SHARES, CODES = "api/shares/alice/", "api/share-codes/alice/"


def status_file(directory):
    (status,) = directory.glob("roost-*/status.json")
    return status


async def ask(hub, session, token):
    """Ask for the tokens, as the agent does."""
    code, answer = await hub.handoff(session, "tokens", {}, token)
    assert code == 200, answer
    return answer


async def share(hub, **scopes):
    await hub.fetch("POST", "api/users/bob")
    code, answer = await hub.fetch("POST", SHARES, {"user": "bob", **scopes})
    assert code == 200, answer


async def test_a_session_that_is_shared_gets_no_tokens_and_says_so(hub):
    session, _, token = await proved(hub)
    session.update(ready=True)
    assert "default" in (await ask(hub, session, token))["tokens"]
    await share(hub)
    for _ in range(2):
        answer = await ask(hub, session, token)
        assert answer["tokens"] == {}
        assert answer["token_states"]["default"]["state"] == "withheld"
        assert answer["again_in"] == sharing.LOOK
    _, status = await hub.fetch("GET", "api/roost/v1/servers/alice")
    assert status["tokens"]["default"]["state"] == "withheld"
    assert [notice["message"] for notice in status["notices"]] == [SHARED]
    assert (await hub.fetch("DELETE", SHARES))[0] == 204
    answer = await ask(hub, session, token)
    assert answer["tokens"]["default"]["value"].startswith("token-of-alice")
    assert answer["token_states"]["default"]["state"] == "good"


async def test_a_code_that_lets_others_in_counts_before_somebody_uses_it_and_not_once_it_ended(hub):
    session, _, token = await proved(hub)
    assert (await hub.fetch("POST", CODES, {"expires_in": 600}))[0] == 200
    assert (await ask(hub, session, token))["tokens"] == {}
    (code,) = hub.app.db.query(orm.ShareCode)
    code.expires_at = code.created_at.replace(year=2000)
    hub.app.db.commit()
    assert (await ask(hub, session, token))["tokens"]


async def test_who_may_only_look_at_a_server_takes_no_tokens_from_it(hub):
    session, _, token = await proved(hub)
    await share(hub, scopes=["read:servers!server=alice/"])
    assert (await ask(hub, session, token))["tokens"]


async def test_another_server_of_the_same_owner_keeps_its_tokens(hub):
    session, _, token = await proved(hub, "alice", "two")
    await hub.submitted("alice")
    await share(hub)
    assert (await ask(hub, session, token))["tokens"]


async def test_a_job_that_begins_while_its_server_is_shared_starts_without_tokens(hub):
    session = await hub.submitted()
    await share(hub)
    bundle = await session.host.bundle(session)
    assert bundle["tokens"] == {}
    assert bundle["token_states"]["default"]["state"] == "withheld"
    assert SHARED in [message for _, message in session.news]


async def test_an_owner_who_allowed_it_shares_the_tokens_too(hub):
    session = await hub.submitted(profile="interactive", share_tokens="yes")
    assert session.record.share_tokens
    await share(hub)
    assert (await session.host.bundle(session))["tokens"]["default"]
    assert type(session.record).from_state(session.record.to_state()).share_tokens


async def test_an_allowance_is_for_one_start(hub):
    hub.pool.run_for_real = True
    await hub.submitted(profile="interactive", share_tokens="yes")
    assert (await hub.settled())["ready"]
    await hub.fetch("DELETE", "api/users/alice/server")
    assert await hub.settled() is None
    session = await hub.submitted(profile="interactive")
    assert not session.record.share_tokens
    assert hub.spawner().orm_spawner.user_options == {"profile": "interactive"}
    await hub.fetch("DELETE", "api/users/alice/server")
    assert await hub.settled() is None
    await hub.fetch("POST", "api/users/alice/server")  # as it was before
    assert not hub.spawner().session.record.share_tokens


async def test_an_allowance_is_yes_or_no(hub):
    await hub.fetch("POST", "api/users/alice")
    code, answer = await hub.fetch("POST", "api/users/alice/server", {"share_tokens": "maybe"})
    assert code == 400
    assert "share_tokens is yes or no; you gave 'maybe'" in answer["message"]


async def test_only_sessions_that_their_owner_can_share_look_often(hub):
    session, _, token = await proved(hub)
    assert (await ask(hub, session, token))["again_in"] is None
    assert "share_tokens" not in await hub.spawner().render_form()
    role = roles.create_role(hub.app.db, {"name": "sharer", "scopes": ["shares!user"]})
    roles.grant_role(hub.app.db, hub.app.users["alice"].orm_user, role)
    assert (await ask(hub, session, token))["again_in"] == sharing.LOOK
    assert 'name="share_tokens"' in await hub.spawner().render_form()


async def test_the_files_of_a_real_session_are_gone_while_it_is_shared(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(sharing, "LOOK", 1.0)
    hub.pool.run_for_real = True
    hub.shepherd.life = 3.0
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    status = status_file(tmp_path / session.record.id)
    default = status.parent / "tokens/default"

    async def until(condition):
        for _ in range(100):
            if condition():
                return
            await session.changed(0.1)
        raise AssertionError(status.read_text())

    assert default.exists()
    await share(hub)
    await until(lambda: not default.exists())
    await until(lambda: json.loads(status.read_text())["notice"] == SHARED)
    await hub.fetch("DELETE", SHARES)
    await until(default.exists)
