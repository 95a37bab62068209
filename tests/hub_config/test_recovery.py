"""What a restarted hub takes up, and what it removes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from roost_hub import startup
from roost_spawner.clusters.base import JobState, JobView
from roost_spawner.origin import Origin
from roost_spawner.sessions import registry

from tests.support.fake_cluster import ISSUER

pytestmark = pytest.mark.hub


def forget(hub, user="alice", server=""):
    """Leave what a killed hub leaves: the database."""
    spawner = hub.spawner(user, server)
    if spawner._spawn_future is not None:
        spawner._spawn_future.cancel()
    for session in registry:
        for task in (session.submission, session.farewell):
            if task is not None:
                task.cancel()
    registry._sessions.clear()
    hub.app.users[user].spawners.pop(server)
    hub.app.tornado_application.settings.pop("roost_recovered", None)


async def begin(hub):
    site_file = Path(hub.app.config.RoostSpawner.site_file)
    return await startup.begin(hub.app, site_file)


def orphan(hub, job_id="77.0", owner="alice", mark="test-hub/0123456789abcdef", **changes):
    view = JobView(
        job_id,
        JobState.RUNNING,
        mark=mark,
        owner=owner,
        subject=f"subject-of-{owner}",
        issuer=ISSUER,
    )
    hub.pool.jobs[job_id] = replace(view, **changes)


async def look(engine, times=1):
    for _ in range(times):
        await engine.watcher("pool").look()
        await asyncio.sleep(0.05)


async def test_sessions_are_taken_up_before_anybody_comes(hub):
    session = await hub.submitted()
    forget(hub)
    await begin(hub)
    adopted = registry.get(session.record.id)
    assert adopted is not None
    assert adopted is not session
    assert adopted.record.job_id == "1.0"


@pytest.mark.parametrize("server", ["", "one"])
async def test_a_start_that_was_pending_goes_on(hub, server):
    session = await hub.submitted(server=server)
    forget(hub, server=server)
    await begin(hub)
    adopted = registry.get(session.record.id)
    _, model = await hub.fetch("GET", "api/users/alice")
    assert model["servers"][server]["pending"] == "spawn"
    hub.pool.tasks.append(asyncio.create_task(hub.pool._run("1.0", hub.pool.requests[0])))
    assert (await hub.settled(server=server))["ready"]
    assert hub.spawner(server=server).session is adopted
    assert len(hub.pool.requests) == 1


async def test_a_start_that_goes_on_can_be_cancelled(hub):
    await hub.submitted()
    forget(hub)
    await begin(hub)
    assert (await hub.fetch("DELETE", "api/users/alice/server"))[0] in (202, 204)
    assert await hub.settled() is None
    assert hub.pool.jobs == {}


async def test_a_start_for_which_the_hub_is_too_busy_is_asked_for_again(hub, monkeypatch):
    await hub.submitted()
    forget(hub)
    monkeypatch.setattr(startup, "_AGAIN", 0.05)
    limits = hub.app.tornado_application.settings
    usual, limits["concurrent_spawn_limit"] = limits["concurrent_spawn_limit"], -1
    beginning = asyncio.create_task(begin(hub))
    await asyncio.sleep(0.3)
    assert not beginning.done()
    limits["concurrent_spawn_limit"] = usual
    await beginning
    _, model = await hub.fetch("GET", "api/users/alice")
    assert model["servers"][""]["pending"] == "spawn"


async def test_a_start_that_cannot_go_on_leaves_no_job(hub, monkeypatch):
    async def refused(*_):
        return 403

    await hub.submitted()
    forget(hub)
    monkeypatch.setattr(startup, "_start", refused)
    await begin(hub)
    for _ in range(50):
        if not hub.pool.jobs:
            break
        await asyncio.sleep(0.1)
    assert hub.pool.jobs == {}


async def test_a_job_that_no_session_has_is_removed_after_two_looks(hub):
    engine = await begin(hub)
    await asyncio.sleep(0.1)  # its own first look
    orphan(hub)
    await look(engine)
    assert "77.0" in hub.pool.jobs
    await look(engine)
    assert "77.0" not in hub.pool.jobs


@pytest.mark.parametrize(
    "changes",
    [
        {"mark": "another-hub/0123456789abcdef"},
        {"mark": "test-hub-2/0123456789abcdef"},
        {"mark": None},
        {"subject": "subject-of-mallory"},
        {"state": JobState.ENDED},
    ],
)
async def test_what_is_not_ours_is_left_alone(hub, changes):
    engine = await begin(hub)
    orphan(hub, **changes)
    await look(engine, 3)
    assert "77.0" in hub.pool.jobs
    assert "cancel" not in hub.pool.calls


async def test_jobs_of_a_hub_with_the_same_hub_id_are_left_alone_and_admins_are_told(hub, caplog):
    engine = await begin(hub)
    engine.origin = Origin(b"ours" * 8, engine.site.hub_url)
    orphan(hub, "78.0", mark=f"test-hub/{Origin(b'theirs').new_id('test-hub')}")
    orphan(hub, "79.0", mark=f"test-hub/{engine.origin.new_id('test-hub')}")
    session = await hub.submitted()
    assert engine.origin.made(session.record.mark)
    await look(engine, 3)
    assert "78.0" in hub.pool.jobs
    assert "79.0" not in hub.pool.jobs  # lost by a hub of ours
    assert caplog.text.count("Does another hub have the hub_id test-hub?") == 1
    _, report = await hub.fetch("GET", "api/roost/v1/admin")
    said = [problem["what"] for problem in report["problems"]]
    what = "A job on cluster pool has this hub's hub_id, but not from this hub."
    assert [what] in said


async def test_an_orphan_whose_owner_has_no_token_is_told_of_once(hub, caplog):
    hub.shepherd.gone.add("alice")
    engine = await begin(hub)
    orphan(hub)
    await look(engine, 4)
    assert caplog.text.count("Job 77.0 of alice is left alone") == 1


async def test_a_copied_mark_is_neither_adopted_nor_touched(hub, caplog):
    session = await hub.submitted()
    engine = await begin(hub)
    orphan(hub, owner="mallory", mark=session.record.mark)
    await look(engine, 3)
    assert session.record.job_id == "1.0"
    assert set(hub.pool.jobs) == {"1.0", "77.0"}
    assert caplog.text.count("left alone: it bears the mark") == 1


async def test_a_session_s_second_job_is_removed(hub):
    session = await hub.submitted()
    engine = await begin(hub)
    orphan(hub, mark=session.record.mark)
    await look(engine, 3)
    assert set(hub.pool.jobs) == {"1.0"}
    assert not session.record.over


async def test_nothing_is_removed_before_the_database_has_been_read(hub):
    session = await hub.submitted()
    forget(hub)
    engine = await begin(hub)
    assert registry.get(session.record.id) is not None
    engine.recovered = False
    orphan(hub)
    await look(engine, 3)
    assert "77.0" in hub.pool.jobs


async def test_a_session_of_which_the_hub_had_not_even_the_job_id_is_adopted(hub):
    """Killed between submit and commit."""
    session = await hub.submitted()
    session.update(job_id="")
    forget(hub)
    engine = await begin(hub)
    await look(engine)
    assert registry.get(session.record.id).record.job_id == "1.0"
    assert set(hub.pool.jobs) == {"1.0"}


async def test_a_start_killed_between_commit_and_submit_begins_anew(hub):
    session = await hub.submitted()
    session.update(job_id="")
    hub.pool.jobs.clear()
    forget(hub)
    engine = await begin(hub)
    hub.pool.run_for_real = True
    await look(engine, 2)
    assert (await hub.settled())["ready"]
    assert registry.get(session.record.id) is None
