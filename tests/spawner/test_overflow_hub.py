"""A start that goes to the next profile, in a real hub on batch systems that obey the test."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from roost_hub import startup
from roost_spawner import attempts
from roost_spawner.clusters.base import Capacity, JobState, Pool, Room
from roost_spawner.errors import ClusterRefused, NoJob, NotReached
from roost_spawner.recovery import recover
from roost_spawner.sessions import registry
from roost_spawner.starts import Outcome, ledger

pytestmark = pytest.mark.hub

HTC, HPC = "interactive", "gpu"
CLUSTERS = {HTC: "pool", HPC: "gpus"}
PROFILES = """\
defaults: {walltime: {default: 1h, max: 2h}}
profiles:
  interactive: {title: Interactive, cluster: pool, memory: 2 GiB, overflow: [gpu]}
  gpu: {title: One GPU, cluster: gpus, partition: p, gpus: {choices: [1, 2]}}
"""
BACK = """\
defaults: {walltime: {default: 1h, max: 2h}}
profiles:
  interactive: {title: Interactive, cluster: pool, memory: 2 GiB}
  gpu: {title: One GPU, cluster: gpus, partition: p, gpus: {choices: [1, 2]},
        overflow: [interactive]}
"""
LATE = "Interactive did not start within 1s: trying One GPU on gpus instead."


def use(hub, profiles):
    """Have other profiles than the fixture's."""
    file = Path(hub.app.config.RoostSpawner.site_file)
    file.write_text(file.read_text().partition("profiles:")[0] + profiles)


@pytest.fixture
def patience(monkeypatch):
    """Seconds that a profile waits here, and a cluster that cannot be reached is waited for."""
    monkeypatch.setattr(attempts, "patience_of", lambda _site, _name: 1.0)
    monkeypatch.setattr(attempts, "REACH", 0.3)
    monkeypatch.setattr(attempts, "_LOOK_AGAIN", 0.2)
    monkeypatch.setattr("roost_spawner.launch._AGAIN", 0.1)


@pytest.fixture
async def over(hub, patience):
    """A hub whose interactive profile has somewhere to go."""
    use(hub, PROFILES)
    return hub


def told(hub):
    return [message for _, message in hub.spawner().session.news]


async def until(condition, limit=10.0):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.02)


async def gone(hub, *clusters):
    """Wait until nothing is left of the sessions that are not the server."""

    def clear():
        others = [s for s in registry if s is not hub.spawner().session]
        return not others and not any(hub.clusters[name].jobs for name in clusters)

    await until(clear)


async def moved(hub, to=HPC):
    """Wait until another profile's session is the server."""
    await until(lambda: hub.spawner().session.record.profile == to)
    return hub.spawner().session


@pytest.mark.parametrize(("first", "profiles"), [(HTC, PROFILES), (HPC, BACK)])
async def test_what_does_not_start_in_time_starts_elsewhere(hub, patience, first, profiles):
    use(hub, profiles)
    second = HPC if first == HTC else HTC
    hub.clusters[CLUSTERS[second]].run_for_real = True
    options = {"profile": first, "walltime": "2h"}
    old = await hub.submitted(**options)
    events = await hub.progress()
    assert (await hub.settled())["ready"]
    record = hub.spawner().session.record
    assert hub.clusters[record.cluster].requests[0].resources.walltime_s == 7200
    assert (record.profile, record.cluster) == (second, CLUSTERS[second])
    assert not old.record.ready
    await gone(hub, CLUSTERS[first])
    assert "cancel" in hub.clusters[CLUSTERS[first]].calls
    # What was chosen stays what was chosen.
    assert hub.spawner().user_options == options
    assert hub.spawner().orm_spawner.user_options == options
    limits = hub.spawner().mem_limit, hub.spawner().cpu_limit
    assert limits == ((1 if second == HPC else 2) * 1024 * 1024 * 1024, 1.0)
    _, status = await hub.fetch("GET", "api/roost/v1/servers/alice")
    assert (status["profile"], status["asked_profile"]) == (second, first)
    # For who waits it began with the click.
    assert status["times"]["asked_at"] == old.record.asked_at < record.asked_at
    # The page says so, once, and never goes back.
    messages = [event["message"] for event in events]
    title = {HTC: "Interactive", HPC: "One GPU"}
    words = f"{title[first]} did not start within 1s: trying {title[second]} on {record.cluster}"
    assert messages.count(f"{words} instead.") == 1
    assert len(set(messages)) == len(messages)
    percents = [event["progress"] for event in events]
    assert percents == sorted(percents)
    assert events[-1]["ready"]


async def test_who_listens_to_a_server_is_told_of_the_one_that_took_its_place(over):
    over.gpus.run_for_real = True
    await over.submitted()
    url = over.app.url + "api/roost/v1/servers/alice/events"
    headers = {"Authorization": f"token {over.token}"}
    seen = []
    async with aiohttp.request("GET", url, headers=headers) as stream:
        while not (seen and seen[-1]["ready"]):
            line = await asyncio.wait_for(stream.content.readline(), 20)
            assert line, "the stream has ended"
            if line.startswith(b"data:"):
                seen.append(json.loads(line[5:]))
    assert not any(event["over"] for event in seen)
    assert [seen[0]["profile"], seen[-1]["profile"]] == [HTC, HPC]
    assert {event["asked_profile"] for event in seen} == {HTC}


async def test_what_starts_in_time_stays(over):
    over.pool.run_for_real = True
    await over.spawn()
    assert (await over.settled())["ready"]
    await asyncio.sleep(1.5)
    assert over.spawner().session.record.profile == HTC
    assert over.gpus.requests == []


async def test_a_job_whose_code_has_run_is_not_given_up_for_patience(over):
    session = await over.submitted()
    over.pool.start(session.record.job_id)
    session.update(started=True)
    await asyncio.sleep(1.5)
    assert over.gpus.requests == []
    assert over.spawner().session is session
    assert not session.record.over


async def test_a_cluster_that_cannot_be_reached_is_not_waited_for_long(over):
    over.pool.refuse = NotReached("The pool cannot be reached.")
    over.gpus.run_for_real = True
    await over.spawn()
    assert (await over.settled())["ready"]
    assert "pool does not answer: trying One GPU on gpus instead." in told(over)
    over.pool.refuse = None
    asked = len(over.pool.requests)
    await gone(over, "pool")
    assert len(over.pool.requests) == asked, "nothing is submitted there afterwards"


async def test_a_job_that_was_taken_without_an_answer_is_found_and_removed(over):
    over.pool.lose_answer = True
    over.gpus.run_for_real = True
    await over.spawn()
    assert (await over.settled())["ready"]
    assert over.spawner().session.record.profile == HPC
    await gone(over, "pool")


async def test_a_refused_submit_goes_elsewhere_at_once_and_says_why(over, monkeypatch):
    monkeypatch.setattr(attempts, "patience_of", lambda _site, _name: 60.0)
    over.pool.refuse = ClusterRefused("The pool takes no more than 20 sessions of one user.")
    over.gpus.run_for_real = True
    await over.spawn()
    assert (await over.settled())["ready"]
    said = "The pool takes no more than 20 sessions of one user: trying One GPU on gpus instead."
    assert said in told(over)
    await gone(over, "pool")


@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_where_every_cluster_refuses_the_start_fails_with_what_the_chosen_one_said(
    over, delay
):
    over.gpus.submit_delay = delay
    over.pool.refuse = ClusterRefused("The pool takes nobody.")
    over.gpus.refuse = ClusterRefused("The GPUs take nobody.")
    await over.spawn()
    assert await over.settled() is None
    assert "The pool takes nobody." in (await over.progress())[-1]["message"]
    await gone(over, "pool", "gpus")
    (last,) = over.spawner().get_state().values()
    assert (last["failed"], last["why"]) == (True, "The pool takes nobody.")


async def test_a_profile_that_describes_no_job_fails_and_is_not_hidden_by_another(over):
    over.pool.refuse = NoJob("priority is 'high'; allowed is a whole number.")
    await over.spawn()
    assert await over.settled() is None
    assert "priority is 'high'" in (await over.progress())[-1]["message"]
    await gone(over, "pool", "gpus")
    (last,) = over.spawner().get_state().values()
    assert last["failed"]


async def test_one_that_may_yet_be_reached_is_waited_for_where_the_other_has_refused(over):
    over.pool.refuse = ClusterRefused("The pool takes nobody.")
    over.gpus.refuse = NotReached("The GPUs cannot be reached.")
    over.gpus.run_for_real = True
    await over.spawn()
    await asyncio.sleep(1.0)
    assert (await moved(over)).record.job_id == ""
    over.gpus.refuse = None
    assert (await over.settled())["ready"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ClusterRefused("You have no account there."), "One GPU: You have no account there."),
        (NotReached("It cannot be reached."), "One GPU: gpus does not answer."),
    ],
)
async def test_a_place_in_the_queue_is_kept_while_nobody_else_takes_the_session(over, error, said):
    over.gpus.refuse = error
    session = await over.submitted()
    await until(lambda: said in told(over))
    assert over.spawner().session is session
    assert session.record.job_id in over.pool.jobs
    await gone(over)
    over.pool.tasks.append(asyncio.create_task(over.pool._run("1.0", over.pool.requests[0])))
    assert (await over.settled())["ready"]
    assert over.spawner().session is session


async def test_what_starts_while_another_is_being_submitted_is_kept(over):
    over.gpus.submit_delay = 0.7
    session = await over.submitted()
    await until(lambda: over.gpus.requests)
    over.pool.tasks.append(asyncio.create_task(over.pool._run("1.0", over.pool.requests[0])))
    assert (await over.settled())["ready"]
    assert over.spawner().session is session
    assert "Interactive has started after all." in told(over)
    await gone(over, "gpus")
    assert "1.0" in over.pool.jobs


async def test_what_starts_after_it_was_given_up_ends_and_the_other_is_the_server(over):
    over.pool.stubborn = True
    old = await over.submitted()
    new = await moved(over)
    late = asyncio.create_task(over.pool._run("1.0", over.pool.requests[0]))
    over.pool.tasks.append(late)
    over.gpus.tasks.append(asyncio.create_task(over.gpus._run("1.0", over.gpus.requests[0])))
    await asyncio.wait_for(late, 20)  # its agent is told so, and ends
    assert (await over.settled())["ready"]
    assert over.spawner().session is new
    assert new.record.ready
    assert not old.record.ready
    await gone(over, "pool")


async def test_nobody_but_the_server_gets_a_bundle(over):
    """Two jobs that run at once: only one can be told the server's secrets."""
    over.gpus.run_for_real = True
    over.gpus.submit_delay = 0.2
    over.pool.stubborn = True
    old = await over.submitted()
    while over.spawner().session is old:
        assert sum(s.record.ready for s in registry) == 0
        await asyncio.sleep(0.01)
    code, _ = await over.handoff(old, "bundle", {"key": "a" * 64}, token=None)
    assert code == 410
    assert (await over.settled())["ready"]
    assert sum(s.record.ready for s in registry) == 1


@pytest.mark.parametrize("moment", ["before", "during", "after"])
async def test_a_start_that_is_cancelled_around_the_switch_leaves_no_job(over, moment):
    over.gpus.submit_delay = 0.5
    await over.submitted()
    if moment != "before":
        await until(lambda: over.gpus.requests)
    if moment == "after":
        await moved(over)
    assert (await over.fetch("DELETE", "api/users/alice/server"))[0] in (202, 204)
    assert await over.settled() is None
    await until(lambda: not list(registry))
    assert over.pool.jobs == {}
    assert over.gpus.jobs == {}
    assert "sessions" not in (over.spawner().orm_spawner.state or {})


async def test_a_first_job_that_stays_for_a_while_is_kept_in_mind(over):
    over.pool.stubborn = True
    over.gpus.run_for_real = True
    old = await over.submitted()
    assert (await over.settled())["ready"]
    kept = {item["id"]: item for item in over.spawner().orm_spawner.state["sessions"]}
    assert kept[old.record.id]["left"]
    assert kept[old.record.id]["job_id"] == "1.0"
    over.pool.jobs.clear()
    await gone(over)
    kept = over.spawner().orm_spawner.state["sessions"]
    assert [item["profile"] for item in kept] == [HPC]


def has(free, unit="slots"):
    room = (Room(4, cpus=4, memory_mib=1 << 20, gpus=4),)
    pool = Pool(total=4, free=free, gpus_total=4, gpus_free=free, unit=unit, rooms=room)
    return replace(pool, free_rooms=room if free else ())


async def test_a_full_cluster_is_passed_over_without_a_job(over):
    over.pool.has = Capacity({"reserved": has(0)}, by="slot")
    over.gpus.has = Capacity({"p": has(4, "cores")})
    over.gpus.run_for_real = True
    await over.spawn()
    assert (await over.settled())["ready"]
    assert over.pool.requests == []
    assert told(over)[0] == ("No reserved slot is free: trying One GPU on gpus instead.")
    assert over.spawner().session.record.asked_profile == HTC


async def test_where_everything_is_full_the_place_is_kept_until_there_is_room(over, monkeypatch):
    monkeypatch.setattr(attempts, "_FRESH", 3600)
    full = Capacity({"p": has(0, "cores")})
    over.pool.has, over.gpus.has = Capacity({"reserved": has(0)}, by="slot"), full
    over.gpus.run_for_real = True
    session = await over.submitted()
    await asyncio.sleep(1.5)
    assert session.record.profile == HTC
    assert over.spawner().session is session
    assert over.gpus.requests == []
    assert any("keeps its place" in message for message in told(over))
    over.gpus.has = Capacity({"p": has(4, "cores")})
    capacity = over.spawner().engine.capacity("gpus")
    capacity._asked_at = float("-inf")
    capacity.glance()
    assert (await over.settled())["ready"]
    assert over.spawner().session.record.profile == HPC
    await gone(over, "pool")


async def test_who_has_no_place_anywhere_gets_one_though_everything_is_full(over):
    over.gpus.has = Capacity({"p": has(0, "cores")})
    over.pool.refuse = NotReached("The pool cannot be reached.")
    await over.spawn()
    new = await moved(over)
    assert await new.until(lambda record: bool(record.job_id), 5)
    await gone(over, "pool")


async def test_a_start_that_moved_counts_where_it_began(over):
    over.gpus.run_for_real = True
    await over.spawn()
    assert (await over.settled())["ready"]
    await gone(over, "pool")
    now = over.spawner().session.record.ready_at + 1
    assert ledger.summary(HTC, now).outcomes == {Outcome.MOVED: 1}
    assert ledger.summary(HPC, now).outcomes == {Outcome.READY: 1}


async def killed(hub, state=None):
    """Have the hub forget what it knows, as one that was killed; it takes up its database."""
    spawner = hub.spawner()
    kept = state or dict(spawner.orm_spawner.state)
    spawner._spawn_future.cancel()
    await asyncio.sleep(0.1)
    for session in registry:
        for task in (session.submission, session.farewell, session.notice):
            if task is not None:
                task.cancel()
    registry._sessions.clear()
    spawner.orm_spawner.state = kept
    hub.app.db.commit()
    hub.app.users["alice"].spawners.pop("")
    hub.app.tornado_application.settings.pop("roost_recovered", None)
    recover(hub.app.tornado_application.settings, hub.app.db)


async def goes_on(hub):
    session = hub.spawner().waiting
    assert session is not None
    await startup._go_on(hub.app, session)
    return session


async def test_a_hub_that_was_killed_still_knows_where_to_go(over):
    old = await over.submitted()
    await killed(over)
    over.gpus.run_for_real = True
    session = await goes_on(over)
    assert (session.record.id, session.record.job_id) == (old.record.id, "1.0")
    assert (await over.settled())["ready"]
    assert over.spawner().session.record.profile == HPC
    assert LATE in told(over)
    await gone(over, "pool")


async def test_a_hub_that_was_killed_before_the_switch_goes_on_with_the_first(over):
    over.gpus.submit_delay = 0.3
    over.pool.stubborn = True
    old = await over.submitted()
    await until(lambda: len(over.spawner().orm_spawner.state["sessions"]) == 2)
    states = over.spawner().orm_spawner.state["sessions"]
    assert [item["standby"] for item in states] == [False, True]
    states = [dict(item, submitting=True, overflow=[]) for item in states]
    # By now both jobs are there, and the hub that died has not kept that.
    await moved(over)
    await until(lambda: "cancel" in over.pool.calls)
    over.pool.stubborn = False
    await killed(over, {"sessions": states})
    session = await goes_on(over)
    assert session.record.id == old.record.id
    await gone(over, "gpus")
    assert over.pool.jobs["1.0"].state is JobState.QUEUED
    over.pool.tasks.append(asyncio.create_task(over.pool._run("1.0", over.pool.requests[0])))
    assert (await over.settled())["ready"]
    assert over.spawner().session is session


async def test_a_hub_that_was_killed_after_the_switch_removes_the_first(over):
    over.pool.stubborn = True
    await over.submitted()
    new = await moved(over)
    assert await new.until(lambda record: bool(record.job_id), 5)
    over.pool.stubborn = False
    await killed(over)
    session = await goes_on(over)
    assert session.record.id == new.record.id
    over.gpus.tasks.append(asyncio.create_task(over.gpus._run("1.0", over.gpus.requests[0])))
    assert (await over.settled())["ready"]
    await gone(over, "pool")
