"""A user's servers in words, for the home page and for programs."""

from __future__ import annotations

import json

import pytest
from roost_hub.servers import Server, card

from tests.support.handoff import proved

NOW = 1_795_269_600.0
GOOD = {"state": "good", "message": "", "away": ""}
STATUS = {
    "state": "running",
    "why": "",
    "cluster": "pool",
    "node": "ep1.example.org",
    "slot": "notebook3@ep1.example.org",
    "ready": True,
    "over": False,
    "reachable": True,
    "ends_at": NOW + 6 * 3600 + 12 * 60 - 5,
    "memory": {"used_mib": 1229, "limit_mib": 4096, "at": NOW - 60},
    "tokens": {"default": GOOD},
}


def running(**changes):
    return Server("two", ready=True, profile="Interactive", status=STATUS | changes, again=True)


def words(server, name):
    return card(server, NOW).words[name]


@pytest.mark.unit
def test_a_session_that_runs_says_where_how_long_and_how_much():
    found = card(running(), NOW)
    assert found.title == "Your server “two”"
    assert found.can == ("open", "stop", "restart")
    assert found.words == {
        "state": "Running",
        "profile": "Interactive",
        "place": "ep1, notebook3 (pool)",
        "left": "6 h 12 min left",
        "memory": "1.2 GiB of 4 GiB",
        "tokens": "Good, and kept fresh",
        "notice": "",
        "ended": "",
    }


@pytest.mark.unit
@pytest.mark.parametrize(
    ("left", "told", "warned"),
    [
        (3 * 86400 + 7200, "3 d 2 h left", ""),
        (3600, "1 h 0 min left", ""),
        (14 * 60, "14 min left", "This session's time is up in 14 minutes. Save your work before."),
        (30, "1 min left", "This session's time is up in 1 minute. Save your work before."),
        (-5, "its time is over", ""),
    ],
)
def test_the_end_of_the_walltime_is_warned_of_by_how_far_it_is_now(left, told, warned):
    server = running(ends_at=NOW + left)
    assert words(server, "left") == told
    assert words(server, "notice") == warned


@pytest.mark.unit
@pytest.mark.parametrize(
    ("memory", "told"),
    [
        (None, ""),
        ({"used_mib": 300, "limit_mib": 1024, "at": NOW}, "300 MiB of 1 GiB"),
        ({"used_mib": 300, "limit_mib": None, "at": NOW}, "300 MiB"),
        (
            {"used_mib": 950, "limit_mib": 1024, "at": NOW},
            "950 MiB of 1 GiB, nearly all it may have",
        ),
        (
            {"used_mib": 300, "limit_mib": 1024, "at": NOW - 1300},
            "300 MiB of 1 GiB (22 minutes ago)",
        ),
    ],
)
def test_an_old_figure_says_how_old_it_is(memory, told):
    assert words(running(memory=memory), "memory") == told


@pytest.mark.unit
def test_tokens_say_what_is_wrong_with_which():
    late = {"state": "retrying", "message": "", "away": "iam.example.org"}
    missing = {"state": "missing", "message": "Your login has ended.", "away": ""}
    assert words(running(tokens={}), "tokens") == ""
    assert words(running(tokens={"default": late}), "tokens") == "iam.example.org does not answer."
    told = words(running(tokens={"default": GOOD, "data": missing}), "tokens")
    assert told == "data: Your login has ended."
    unclear = {"state": "retrying", "message": "", "away": ""}
    told = words(running(tokens={"default": unclear}), "tokens")
    assert told == "It cannot be renewed at the moment."


@pytest.mark.unit
def test_an_eviction_and_a_scheduler_that_is_away_are_warned_of():
    why = "The batch system is stopping this job: your session ends in 22 s. Save your work now."
    ending = card(running(state="evicting", why=why), NOW)
    assert (ending.level, ending.words["notice"]) == ("danger", why)
    assert ending.words["left"] == ""  # the walltime does not count any more
    away = running(state="unreachable", reachable=False)
    told = "Cluster pool does not answer. Your server “two” goes on without it."
    assert words(away, "notice") == told


@pytest.mark.unit
def test_what_can_be_done_is_what_makes_sense():
    assert card(Server("", pending="spawn"), NOW).can == ("follow", "stop")
    assert card(Server("", pending="stop", status=STATUS), NOW).can == ()
    assert card(Server(""), NOW).can == ("start",)
    assert card(Server("two"), NOW).can == ("start", "delete")
    assert "restart" not in card(Server("", ready=True, status=STATUS), NOW).can


@pytest.mark.unit
def test_a_server_that_ended_while_its_job_is_leaving_is_not_said_to_run():
    found = card(running(over=True), NOW)
    assert found.words["state"] == "Ending"
    assert found.words["left"] == found.words["memory"] == found.words["tokens"] == ""
    assert found.ends_at is None


@pytest.mark.unit
def test_the_last_end_is_told_until_the_next_start():
    end = {"why": "An admin has removed the job."}
    told = words(Server("", last_end=end), "ended")
    assert told == "Your server has ended: An admin has removed the job."
    assert words(Server("", last_end=end, pending="spawn"), "ended") == ""
    assert words(Server("", last_end=end, ready=True, status=STATUS), "ended") == ""


PATH = "api/roost/v1/users/alice/servers"


@pytest.mark.hub
async def test_one_question_serves_all_servers_of_a_user(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    await hub.spawn(server="two")
    assert (await hub.settled())["ready"]
    assert (await hub.settled(server="two"))["ready"]
    await hub.fetch("PUT", "api/users/alice/servers/three", {})
    token = hub.app.users["alice"].new_api_token()
    code, answer = await hub.fetch("GET", PATH, token=token)
    assert code == 200
    found = {one["name"]: one for one in answer["servers"]}
    assert list(found) == ["", "three", "two"]
    assert found[""]["can"] == ["open", "stop", "restart"]
    assert found[""]["words"]["profile"] == "Interactive"
    assert found[""]["status"]["job"] == "1.0"
    assert found["three"]["can"] == ["start", "delete"]
    for secret in (hub.spawner().api_token, session.record.key_hash, session.record.token_hash):
        assert secret not in json.dumps(answer)


@pytest.mark.hub
async def test_a_session_that_took_the_place_of_another_profiles_says_so(hub):
    session = await hub.submitted()
    session.update(asked_profile="gpu")
    _, answer = await hub.fetch("GET", PATH)
    assert answer["servers"][0]["words"]["profile"] == "Interactive, instead of GPU"


@pytest.mark.hub
async def test_nobody_else_reads_a_users_servers(hub):
    hub.pool.run_for_real = True
    await hub.spawn()
    await hub.settled()
    await hub.fetch("POST", "api/users/bob")
    bob = hub.app.users["bob"].new_api_token()
    assert (await hub.fetch("GET", PATH, token=bob))[0] == 403
    # A session may read itself, not what else its owner runs.
    assert (await hub.fetch("GET", PATH, token=hub.spawner().api_token))[0] == 403
    assert (await hub.fetch("GET", PATH, token=None))[0] in (401, 403)
    assert (await hub.fetch("GET", PATH.replace("alice", "nobody")))[0] == 404
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert (await hub.fetch("GET", PATH, headers=headers))[0] == 403


@pytest.mark.hub
async def test_a_server_starts_again_as_it_was_without_being_asked_what(hub):
    hub.gpus.run_for_real = True
    await hub.spawn(server="two", profile="gpu", gpus="2")
    await hub.settled(server="two")
    path = "api/users/alice/servers/two"
    assert (await hub.fetch("DELETE", path))[0] in (202, 204)
    assert await hub.settled(server="two") is None
    assert (await hub.fetch("POST", path))[0] in (201, 202)  # what the page's *restart* does
    await hub.settled(server="two")
    assert [request.resources.gpus for request in hub.gpus.requests] == [2, 2]


@pytest.mark.hub
@pytest.mark.parametrize("used", [-1, 1.5, "300", None, True, 1 << 40])
async def test_memory_that_no_session_can_use_is_refused(hub, used):
    session, _, token = await proved(hub)
    assert (await hub.handoff(session, "usage", {"memory_mib": used}, token))[0] == 400
    assert session.memory_used is None


@pytest.mark.hub
async def test_the_memory_that_an_agent_tells_is_in_the_status_and_costs_no_commit(
    hub, monkeypatch
):
    session, _, token = await proved(hub)
    monkeypatch.setattr(session.host, "keep", lambda: pytest.fail("this is not worth a commit"))
    assert (await hub.handoff(session, "usage", {"memory_mib": 300}, token))[0] == 200
    assert (await hub.handoff(session, "usage", {"memory_mib": 300}, "another"))[0] == 403
    _, status = await hub.fetch("GET", "api/roost/v1/servers/alice")
    assert status["memory"] == {
        "used_mib": 300,
        "limit_mib": 1024,
        "at": pytest.approx(session.memory_used[1]),
    }
