"""The audit log of sessions."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from jupyterhub import orm
from roost_hub.entries import note_entry
from roost_shepherd import audit

from tests.support.handoff import proved

pytestmark = pytest.mark.hub


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "audit.log"
    close = audit.open_log(path)

    def read():
        close()
        return path.read_text()

    yield read
    close()


async def test_start_tokens_and_end_of_a_session_are_written_down_without_secrets(hub, lines):
    session, key, server_token = await proved(hub)
    session.end("The job has ended.")
    text = lines()
    found = [json.loads(line) for line in text.splitlines()]
    assert [line["event"] for line in found] == ["start", "tokens", "end"]
    assert {line["session"] for line in found} == {session.record.mark}
    assert {line["user"] for line in found} == {"alice"}
    assert found[1]["names"] == ["default"]
    assert found[2]["why"] == "The job has ended."
    for secret in ("token-of-alice", key, server_token):
        assert secret not in text


async def test_only_who_enters_anothers_server_is_written_down(hub, lines):
    await hub.submitted()
    spawner = hub.app.db.query(orm.Spawner).filter(orm.Spawner.name == "").first()
    client = spawner.oauth_client.identifier

    def came(name, status):
        return SimpleNamespace(
            request=SimpleNamespace(path="/hub/api/oauth2/authorize", remote_ip="10.0.0.7"),
            get_status=lambda: status,
            get_argument=lambda *_: client,
            db=hub.app.db,
            current_user=SimpleNamespace(name=name, admin=True),
            log=hub.app.log,
        )

    for name, status in (("alice", 302), ("carol", 200), ("carol", 302)):
        note_entry(came(name, status))
    (line,) = [json.loads(one) for one in lines().splitlines() if '"enter"' in one]
    assert (line["user"], line["owner"], line["address"]) == ("carol", "alice", "10.0.0.7")
