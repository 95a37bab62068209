"""Sessions in a real hub, with the real agent, on a batch system that obeys the test."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from roost_spawner.clusters.base import Cause, JobState
from roost_spawner.errors import ClusterRefused, ClusterUnreachable, NotReached
from roost_spawner.sessions import registry

pytestmark = pytest.mark.hub


async def test_from_click_to_ready_and_stop(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    messages = [event["message"] for event in await hub.progress()]
    model = await hub.settled()
    assert model["ready"]
    assert session.record.ready
    assert session.record.node == "127.0.0.1"
    assert any("1 core, 1 GiB for 1h" in message for message in messages), messages
    assert len(set(messages)) == len(messages)
    code, _ = await hub.fetch("DELETE", "api/users/alice/server")
    assert code in (202, 204)
    assert await hub.settled() is None
    assert hub.pool.jobs == {}
    assert list(registry) == []
    assert hub.spawner().get_state() == {}


async def test_a_slurm_session_shows_its_ticket(hub):
    hub.gpus.run_for_real = True
    session = await hub.spawn(profile="gpu", gpus="2")
    assert (await hub.settled())["ready"]
    request = hub.gpus.requests[0]
    assert request.resources.gpus == 2
    assert request.launcher.ticket not in request.launcher.code
    assert request.launcher.ticket not in repr(request)
    assert request.launcher.ticket not in str(session.record)


async def test_nothing_secret_is_kept_or_submitted(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    token = hub.spawner().api_token
    for text in (
        str(hub.spawner().orm_spawner.state),
        str(hub.pool.requests),
        repr(session.record),
    ):
        assert token not in text
        assert "token-of-alice" not in text


async def test_the_mark_is_kept_before_the_submit_and_the_id_after(hub):
    hub.pool.submit_delay = 2.0
    session = await hub.spawn()
    assert await session.until(lambda record: record.submitting, 5)
    kept = hub.spawner().orm_spawner.state["sessions"][0]
    assert (kept["id"], kept["job_id"], kept["submitting"]) == (session.record.id, "", True)
    await session.until(lambda record: bool(record.job_id), 5)
    assert hub.spawner().orm_spawner.state["sessions"][0]["job_id"] == "1.0"


@pytest.mark.parametrize("delay", [0.0, 0.5])
async def test_a_start_cancelled_while_submitting_leaves_no_job(hub, delay):
    hub.pool.submit_delay = delay
    await hub.spawn()
    await asyncio.sleep(0.05)
    code, _ = await hub.fetch("DELETE", "api/users/alice/server")
    assert code in (202, 204)
    assert await hub.settled() is None
    assert hub.pool.jobs == {}
    assert "cancel" in hub.pool.calls


async def test_a_refused_submit_is_told_and_leaves_nothing(hub):
    hub.pool.refuse = ClusterRefused("The pool takes no more than 20 sessions of one user.")
    await hub.spawn()
    assert await hub.settled() is None
    events = await hub.progress()
    assert events[-1]["failed"]
    assert "no more than 20 sessions" in events[-1]["message"]
    (last,) = hub.spawner().get_state().values()
    assert last["failed"]
    assert last["why"] == "The pool takes no more than 20 sessions of one user."


async def test_a_start_that_is_not_ready_in_time_is_told_with_how_it_stood(hub):
    await hub.fetch("POST", "api/users/alice")
    hub.spawner().start_timeout = 2
    await hub.submitted()
    events = await hub.progress()
    words = "Your session was not ready within 2s, and is given up. How it stood: Job 1.0 is in the"
    assert words in events[-1]["message"]
    assert "For your support" in events[-1]["html_message"]
    assert await hub.settled() is None
    assert hub.pool.jobs == {}


async def test_a_start_that_waits_for_a_token_in_vain_is_told_too(hub, monkeypatch):
    async def wait():
        await asyncio.sleep(10)

    await hub.fetch("POST", "api/users/alice")
    hub.spawner().start_timeout = 1
    monkeypatch.setattr(hub.shepherd, "start", wait, raising=False)
    await hub.spawn()
    assert await hub.settled() is None
    assert "not ready within 1s" in (await hub.progress())[-1]["message"]


async def test_a_submit_without_an_answer_is_found_by_its_mark_and_goes_on(hub):
    hub.pool.lose_answer = hub.pool.run_for_real = True
    await hub.spawn()
    assert (await hub.settled())["ready"]
    assert len(hub.pool.requests) == 1


async def test_a_submit_without_an_answer_and_without_a_job_ends_the_start(hub):
    hub.pool.refuse = ClusterUnreachable("The pool does not answer.")
    session = await hub.spawn()
    for _ in range(2):
        await asyncio.sleep(0.05)
        await hub.spawner().engine.watcher("pool").look()
    assert await hub.settled() is None
    assert "The pool does not answer." in (await hub.progress())[-1]["message"]
    assert len(hub.pool.requests) == 1
    assert session.record.ended


async def test_a_cluster_that_cannot_be_reached_is_waited_for(hub, monkeypatch):
    monkeypatch.setattr("roost_spawner.launch._AGAIN", 0.1)
    hub.pool.run_for_real = True
    hub.pool.refuse = NotReached("The pool cannot be reached.")
    session = await hub.spawn()
    await asyncio.sleep(0.5)
    assert not session.record.over
    assert len(hub.pool.requests) > 1
    assert hub.pool.jobs == {}
    hub.pool.refuse = None
    assert (await hub.settled())["ready"]
    told = [message for _, message in session.news]
    assert "The pool cannot be reached. Your session starts as soon as it does." in told
    assert len(hub.pool.jobs) == 1


async def test_a_start_that_waits_for_its_cluster_can_be_cancelled(hub, monkeypatch):
    monkeypatch.setattr("roost_spawner.launch._AGAIN", 0.1)
    hub.pool.refuse = NotReached("The pool cannot be reached.")
    session = await hub.spawn()
    await asyncio.sleep(0.3)
    assert (await hub.fetch("DELETE", "api/users/alice/server"))[0] in (202, 204)
    assert await hub.settled() is None
    assert await session.until(lambda record: record.ended, 5)
    asked = len(hub.pool.requests)
    await asyncio.sleep(0.5)
    assert len(hub.pool.requests) == asked


async def test_a_held_job_ends_the_start_with_its_reason_and_is_removed(hub):
    session = await hub.submitted()
    hub.pool.move(session.record.job_id, state=JobState.HELD, reason="The job asked for too much.")
    assert await hub.settled() is None
    assert "asked for too much" in (await hub.progress())[-1]["message"]
    await asyncio.sleep(0.5)
    assert hub.pool.jobs == {}


async def test_a_crashing_server_shows_its_last_lines(hub):
    hub.pool.run_for_real = True
    hub.app.config.RoostSpawner.cmd = [
        hub.app.config.RoostSpawner.cmd[0],
        "-c",
        "print('ouch');1/0",
    ]
    await hub.spawn()
    assert await hub.settled() is None
    last = (await hub.progress())[-1]
    assert "ZeroDivisionError" in last["message"]
    assert "ouch" in last["html_message"]


async def test_an_unreachable_cluster_ends_no_session(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    hub.pool.down = True
    watcher = hub.spawner().engine.watcher("pool")
    for _ in range(5):
        await watcher.look()
    assert await hub.spawner().poll() is None
    assert not session.reachable
    hub.pool.down = False
    await watcher.look()
    assert session.reachable


async def test_a_job_absent_from_two_listings_has_ended(hub):
    session = await hub.submitted()
    watcher = hub.spawner().engine.watcher("pool")
    hub.pool.jobs.clear()
    await watcher.look()
    assert await hub.spawner().poll() is None
    await watcher.look()
    assert await session.until(lambda record: record.ended, 5)
    assert hub.pool.calls.count("fate") == 1


async def test_a_job_that_left_the_queue_is_told_by_the_schedulers_records(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    view = hub.pool.jobs.pop("1.0")
    hub.pool.fates["1.0"] = replace(
        view, state=JobState.ENDED, reason="It used more than 1024 MiB.", cause=Cause.OUT_OF_MEMORY
    )
    for _ in range(2):
        await hub.spawner().engine.watcher("pool").look()
    assert await session.until(lambda record: record.ended, 5)
    assert session.record.why == "It used more than 1024 MiB."
    assert session.record.cause == "out-of-memory"
    assert await hub.settled() is None
    assert hub.spawner().last_end["why"] == "It used more than 1024 MiB."


async def test_a_state_without_a_name_is_not_dead(hub):
    session = await hub.submitted()
    for state in (JobState.UNKNOWN, JobState.SUSPENDED):
        hub.pool.move(session.record.job_id, state=state)
        await hub.spawner().engine.watcher("pool").look()
        assert await hub.spawner().poll() is None


async def test_a_job_that_went_back_to_the_queue_never_starts_a_second_session(hub, monkeypatch):
    monkeypatch.setattr("roost_spawner.farewell._BY_ITSELF", 0.2)
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    session.started_at -= 60
    hub.pool.move(session.record.job_id, state=JobState.QUEUED)
    await hub.spawner().engine.watcher("pool").look()
    assert await hub.settled() is None
    await session.until(lambda record: record.ended, 5)
    assert hub.pool.jobs == {}


async def test_a_job_that_stays_is_kept_in_mind_when_the_server_is_gone(hub, monkeypatch):
    monkeypatch.setattr("roost_spawner.spawner._STOP_PATIENCE", 0.3)
    session = await hub.submitted()
    hub.pool.stubborn = True
    await hub.fetch("DELETE", "api/users/alice/server")
    assert await hub.settled() is None
    assert hub.spawner().orm_spawner.state["sessions"][0]["job_id"] == session.record.job_id
    hub.pool.jobs.clear()
    await session.until(lambda record: record.ended, 5)
    await asyncio.sleep(0.1)
    assert list(registry) == []
    assert "sessions" not in (hub.spawner().orm_spawner.state or {})


async def test_an_owner_without_a_token_gets_a_job_that_ends_from_inside(hub, monkeypatch):
    monkeypatch.setattr("roost_spawner.spawner._STOP_PATIENCE", 0.3)
    hub.shepherd.life = 3.0
    hub.pool.run_for_real = True
    await hub.spawn()
    assert (await hub.settled())["ready"]
    hub.shepherd.gone.add("alice")
    await hub.fetch("DELETE", "api/users/alice/server")
    assert await hub.settled() is None
    for _ in range(100):
        if not hub.pool.jobs:
            break
        await asyncio.sleep(0.1)
    assert hub.pool.jobs == {}
    assert "cancel" not in hub.pool.calls


async def test_options_over_rest_are_validated_like_the_form(hub):
    await hub.fetch("POST", "api/users/alice")
    code, answer = await hub.fetch("POST", "api/users/alice/server", {"profile": "gpu", "gpus": 9})
    assert code in (202, 400)
    if code == 202:
        assert await hub.settled() is None
        answer = (await hub.progress())[-1]
    assert "gives gpus: 1, 2" in answer["message"]
    assert hub.gpus.requests == []


async def test_named_servers_have_sessions_of_their_own(hub):
    hub.pool.run_for_real = True
    one = await hub.spawn(server="one")
    two = await hub.spawn(server="two")
    assert (await hub.settled(server="one"))["ready"]
    assert (await hub.settled(server="two"))["ready"]
    assert one.record.id != two.record.id
    await hub.fetch("DELETE", "api/users/alice/servers/one")
    assert await hub.settled(server="one") is None
    assert len(hub.pool.jobs) == 1
    assert await hub.spawner(server="two").poll() is None


async def test_many_sessions_cost_one_query(hub):
    for number in range(5):
        await hub.submitted(user=f"user{number}")
    hub.pool.calls.clear()
    await hub.spawner("user0").engine.watcher("pool").look()
    assert hub.pool.calls == ["watch"]


async def test_a_job_whose_id_was_never_kept_is_found_by_its_mark_but_no_copy_of_it(hub):
    session = await hub.submitted()
    view = hub.pool.jobs["1.0"]
    session.update(job_id="")
    hub.pool.jobs.clear()
    hub.pool.jobs["8.0"] = replace(view, job_id="8.0", owner="mallory")
    hub.pool.jobs["9.0"] = replace(view, job_id="9.0")
    await hub.spawner().engine.watcher("pool").look()
    assert session.record.job_id == "9.0"


async def test_an_agent_that_calls_before_the_hub_has_loaded_anything_is_known(hub):
    session = await hub.submitted()
    registry._sessions.clear()
    hub.app.users["alice"].spawners.pop("")
    code, _ = await hub.handoff(session.record.id, "tokens", {}, "some token")
    assert code == 403
    assert registry.get(session.record.id) is not None


async def test_the_spawn_page_shows_cards_and_takes_the_form(hub):
    await hub.fetch("POST", "api/users/alice")
    token = hub.app.users["alice"].new_api_token()
    engine_form = await hub.spawner().render_form()
    assert "Interactive" in engine_form
    assert token not in engine_form
    options = hub.spawner().run_options_from_form(
        {"profile": ["interactive"], "interactive.walltime": ["90m"], "gpu.gpus": ["9"]}
    )
    assert options == {"profile": "interactive", "walltime": "90m"}


async def test_a_session_far_past_its_walltime_loses_its_job_and_says_why(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    hub.pool.move("1.0", walltime_s=60.0)
    session.update(began_at=session.record.began_at - 200)
    hub.spawner().engine.watcher("pool").follow()
    assert await session.until(lambda record: record.ended, 30)
    assert hub.pool.jobs == {}
    assert await hub.settled() is None
    assert hub.spawner().last_end["cause"] == "walltime"
    assert "The notebook's time was up." in hub.spawner().last_end["why"]


async def test_a_session_whose_node_is_a_services_place_gets_no_route(hub, caplog):
    hub.pool.run_for_real = True
    hub.pool.hosts = ["ap.example.org", "https://192.0.2.9/"]
    hub.pool.true_node = "AP.example.org."
    session = await hub.spawn()
    assert await hub.settled() is None
    assert (session.record.placed, session.record.over) == (False, True)
    assert "where no notebook may run" in session.record.why
    assert hub.pool.jobs == {}
    assert "ap.example.org is a service's host" in caplog.text


async def test_what_a_job_says_of_its_node_after_its_proof_changes_nothing(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    hub.pool.move("1.0", node="iam.example.org", slot="notebook1@iam.example.org")
    await hub.spawner().engine.watcher("pool").look()
    assert (session.record.node, session.record.slot) == ("127.0.0.1", "slot1")
    assert await hub.spawner()._address(session) == ("127.0.0.1", session.record.port)
