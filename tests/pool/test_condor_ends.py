"""How a job's life goes on the real pool, as the hub sees it: from waiting to every kind of end."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest
from roost_spawner.clusters.base import Cause, JobState
from roost_spawner.errors import ClusterRefused

from tests.support.ground import HTCONDOR, Ground

pytestmark = pytest.mark.pool

SLEEP = "import time; time.sleep(120)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"


async def until(ask, good, seconds=60):
    """Return the first answer of `ask` that is `good`."""
    end = time.monotonic() + seconds
    while not good(found := await ask()):
        assert time.monotonic() < end, f"not as wanted: {found}"
        await asyncio.sleep(0.1)
    return found


def running(view):
    return view is not None and view.state is JobState.RUNNING


def over(view):
    return view is not None and view.state is JobState.ENDED


async def start(talk, code=SLEEP, **wish):
    """Submit as bob; return the job's id and how to look at it."""
    job_id = await talk.pool.submit(talk.wish(code, **wish), token=talk.token("bob"))
    return job_id, lambda: talk.pool.look(job_id)


async def by_admin(talk, *command):
    await asyncio.to_thread(talk.site.hosts["ap"].run, list(command))


async def gone(look):
    await until(look, lambda view: view is None)


async def test_a_running_job_says_since_when_and_until_when(talk):
    before = time.time()
    _, look = await start(talk, walltime_s=300)
    view = await until(look, running)
    assert view.cause is None
    # Clocks of one machine; how long it waited is the negotiator's matter.
    assert before - 2 <= view.started_at <= time.time() + 2
    assert view.ends_at == pytest.approx(view.started_at + 300, abs=3)


async def test_an_admin_prolongs_a_session_and_its_owner_does_not(talk, testbed):
    job_id, look = await start(talk, walltime_s=300)
    view = await until(look, running)
    change = ["condor_qedit", job_id, "RoostWalltime", "600"]
    testbed.hosts["ap"].run(change, user="bob", check=False)
    assert (await look()).ends_at == view.ends_at
    await by_admin(talk, *change)
    later = await until(look, lambda found: found.ends_at != view.ends_at, 10)
    assert later.ends_at == view.ends_at + 300


async def test_a_job_past_its_walltime_ends_for_that_reason(talk):
    _, look = await start(talk, walltime_s=3)
    view = await until(look, over)
    assert (view.cause, view.reason) == (Cause.WALLTIME, "The notebook's time was up.")


async def test_a_job_held_by_an_admin_is_held_and_the_log_has_the_admin_s_words(talk):
    job_id, look = await start(talk)
    await until(look, running)
    await by_admin(talk, "condor_hold", "-reason", "maintenance", job_id)
    view = await until(look, lambda view: view.state is JobState.HELD)
    assert view.cause is Cause.HELD
    assert view.reason
    assert "maintenance (by user condor)" in view.detail


async def test_a_job_removed_by_an_admin_has_a_fate_that_says_so(talk):
    job_id, look = await start(talk)
    await until(look, running)
    assert await talk.pool.fate(job_id) is None
    await by_admin(talk, "condor_rm", job_id)
    await gone(look)
    view = await until(lambda: talk.pool.fate(job_id), over)
    assert (view.cause, view.reason) == (Cause.REMOVED, "An admin (condor) has removed the job.")


async def test_a_job_stopped_by_its_owner_needs_no_words(talk):
    job_id, look = await start(talk)
    await until(look, running)
    await talk.pool.cancel(job_id, token=talk.token("bob"))
    await gone(look)
    view = await until(lambda: talk.pool.fate(job_id), over)
    assert (view.cause, view.reason) == (Cause.REMOVED, "")


async def test_a_job_whose_end_nobody_saw_is_told_of_by_the_history(talk):
    job_id, _ = await start(talk, "import sys; sys.exit(3)")
    view = await until(lambda: talk.pool.fate(job_id), over, seconds=90)
    assert (view.cause, view.owner) == (Cause.FAILED, "bob")
    assert view.reason == "The notebook's program ended with status 3."


async def test_the_history_knows_nothing_of_a_job_that_never_was(talk):
    assert await talk.pool.fate("99999999.0") is None


async def test_an_evicted_job_is_over_at_once_and_never_runs_again(talk):
    async def evicted(code, *more):
        job_id, look = await start(talk, code)
        await until(look, running)
        await by_admin(talk, "condor_vacate_job", *more, job_id)
        view = await until(look, over, seconds=10)
        assert view.cause is Cause.EVICTED
        assert "does not start a second time" in view.reason
        seen = []

        async def again():
            seen.append(view := await look())
            return view

        await until(again, lambda view: view is None, seconds=90)
        assert {view.state for view in seen if view} == {JobState.ENDED}

    await asyncio.gather(evicted(SLEEP), evicted(DEAF, "-fast"))


async def test_a_program_that_is_not_there_is_told(talk):
    wish = talk.wish(SLEEP)
    wish = dataclasses.replace(
        wish, launcher=dataclasses.replace(wish.launcher, python="/no/such/python")
    )
    job_id = await talk.pool.submit(wish, token=talk.token("bob"))
    view = await until(
        lambda: talk.pool.look(job_id), lambda view: view.state is JobState.HELD, seconds=60
    )
    assert view.cause is Cause.FAILED
    assert view.reason == "The node could not start the notebook's program."
    assert "/no/such/python" in view.detail


async def test_a_node_without_the_agent_is_told(talk):
    _, look = await start(talk, "import sys; sys.exit(75)")
    view = await until(look, over)
    assert view.cause is Cause.FAILED
    assert "could not load the session's agent" in view.reason


async def test_who_waits_is_told_how_many_are_ahead(talk, testbed):
    ground = Ground(testbed)
    await ground.close(HTCONDOR)
    try:
        first, _ = await start(talk)
        second, look = await start(talk)
        assert (await look()).state is JobState.QUEUED
        said = await talk.pool.explain(second)
        assert said[-1] == "1 notebook ahead of you."
        # The same look at the queue serves everybody for a moment.
        assert (await talk.pool.explain(first))[-1] == "Yours is the next notebook in the queue."
    finally:
        await ground.open(HTCONDOR)
    await until(look, running)
    await until(lambda: talk.pool.explain(second), lambda said: said == [], seconds=30)


async def test_who_has_as_many_as_allowed_is_told_so(talk, testbed):
    limit = testbed.hosts["ap"].run(["condor_config_val", "MAX_JOBS_PER_OWNER"]).stdout
    for _ in range(int(limit)):
        try:
            await start(talk)
        except ClusterRefused:
            break  # jobs of other tests, which the queue still shows
    with pytest.raises(ClusterRefused, match="as many notebooks"):
        await start(talk)
    jobs = await talk.pool.watch()
    for job_id in (job_id for job_id, view in jobs.items() if view.owner == "bob"):
        await talk.pool.cancel(job_id, token=talk.token("bob"))
    # The tests after this one want to submit as bob, too.
    await until(talk.pool.watch, lambda found: all(v.owner != "bob" for v in found.values()), 90)
    # The schedd counts an owner's jobs anew only now and then.
    await until(lambda: accepted(talk), bool, 90)


async def accepted(talk):
    try:
        job_id, _ = await start(talk)
    except ClusterRefused:
        await asyncio.sleep(1)
        return False
    await talk.pool.cancel(job_id, token=talk.token("bob"))
    return True
