from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roost_spawner.clusters.base import Cause, JobState, JobView
from roost_spawner.record import Record, SessionState, Wish, judge
from roost_spawner.sessions import Registry, Session

pytestmark = pytest.mark.unit

RECORD = Record(
    id="a" * 32,
    hub_id="hub",
    cluster="pool",
    profile="interactive",
    account="alice",
    issuer="https://iam.example.org/",
    subject="uuid-of-alice",
    wishes={"default": Wish("https://data.example.org", "storage.read:/")},
    submitting=True,
    job_id="1.0",
)
VIEW = JobView(
    "1.0",
    JobState.QUEUED,
    mark=RECORD.mark,
    owner="alice",
    subject="uuid-of-alice",
    issuer="https://iam.example.org/",
)


class Host:
    def __init__(self):
        self.kept = 0
        self.over = 0

    def keep(self):
        self.kept += 1

    def session_over(self, session):
        self.over += 1

    def follow(self, session):
        pass


@pytest.fixture
def session():
    return Session(RECORD, ("alice", ""), Host())


def now():
    return time.monotonic()


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize("state", list(JobState))
def test_every_job_state_has_a_meaning_and_only_ended_is_dead(state, started, ready):
    record = replace(RECORD, started=started, ready=ready)
    verdict = judge(record, replace(VIEW, state=state))
    assert (verdict.state is SessionState.ENDED) == (state is JobState.ENDED)
    if state in {JobState.UNKNOWN, JobState.SUSPENDED, JobState.STARTING, JobState.RUNNING}:
        assert not verdict.over


def test_a_queued_job_that_has_run_is_over_and_one_that_has_not_is_not():
    assert judge(replace(RECORD, started=True), VIEW).over
    assert not judge(RECORD, VIEW).over


def test_a_held_job_is_over_with_its_reason():
    verdict = judge(RECORD, replace(VIEW, state=JobState.HELD, reason="Too much memory."))
    assert (verdict.over, verdict.why) == (True, "Too much memory.")


@pytest.mark.parametrize("field", ["mark", "owner", "subject", "issuer"])
def test_a_job_is_ours_only_if_everything_fits(field):
    assert RECORD.rightful(VIEW)
    assert not RECORD.rightful(replace(VIEW, **{field: "another"}))
    assert not RECORD.rightful(replace(VIEW, **{field: None}))


def test_slurm_records_no_subject():
    record = replace(RECORD, needs_ticket=True)
    assert record.rightful(replace(VIEW, subject=None, issuer=None))
    assert not record.rightful(replace(VIEW, subject=None, owner="bob"))


def test_a_record_survives_the_hub_and_another_version_of_it():
    state = RECORD.to_state()
    assert Record.from_state(state) == RECORD
    assert Record.from_state(state | {"from_the_future": 1}) == RECORD
    del state["slot"]
    assert Record.from_state(state) == RECORD


def test_an_old_picture_overrules_nothing_newer(session):
    asked = now()
    session.started_at = now()
    session.update(started=True)
    session.observe(VIEW, asked)
    assert not session.record.over
    session.started_at -= 60
    session.observe(VIEW, now())
    assert session.record.over


def test_only_what_must_survive_is_committed(session):
    session.observe(replace(VIEW, state=JobState.QUEUED, reason="2 are ahead of you."), now())
    assert session.host.kept == 0
    session.update(ready=True, port=40000)
    assert session.host.kept == 1
    session.update(ready=True)
    assert session.host.kept == 1


def test_two_misses_say_that_it_is_gone_and_one_between_does_not(session):
    assert not session.missed(now())
    session.observe(VIEW, now())
    assert not session.missed(now())
    assert session.missed(now())


def test_a_listing_from_before_the_submit_is_no_miss(session):
    session.submitted_at = float("inf")
    assert [session.missed(now()) for _ in range(3)] == [False] * 3


def test_unreachable_is_said_once_and_ends_nothing(session):
    for _ in range(5):
        session.unreachable("The pool does not answer.")
    assert [words for _, words in session.news] == ["The pool does not answer."]
    assert not session.record.over


@given(st.lists(st.tuples(st.integers(0, 100), st.sampled_from("abc"))))
def test_progress_never_runs_backwards_and_repeats_nothing(news):
    session = Session(RECORD, ("alice", ""), Host())
    for percent, words in news:
        session.say(percent, words)
    percents = [percent for percent, _ in session.news]
    assert percents == sorted(percents)
    assert len({words for _, words in session.news}) == len(session.news)


@given(st.lists(st.sampled_from(JobState)))
def test_ended_is_final(states):
    session = Session(RECORD, ("alice", ""), Host())
    session.end("Gone.")
    for state in states:
        session.observe(replace(VIEW, state=state), now())
    assert session.record.ended
    assert session.host.over == 1


async def test_who_waits_is_woken(session):
    async def later():
        await asyncio.sleep(0.05)
        session.update(ready=True)

    task = asyncio.ensure_future(later())
    assert await session.until(lambda record: record.ready, 5)
    await task
    assert not await session.until(lambda record: record.over, 0.05)


def test_the_registry_knows_whose_and_where():
    registry = Registry()
    mine = Session(RECORD, ("alice", ""), Host())
    other = Session(replace(RECORD, id="5" * 32, cluster="gpus"), ("alice", "two"), Host())
    registry.add(mine)
    registry.add(other)
    assert registry.at(("alice", "")) == [mine]
    assert registry.on("gpus") == [other]
    other.end("Gone.")
    assert registry.on("gpus") == []
    registry.discard(mine)
    assert registry.get(mine.record.id) is None


RUNNING = replace(RECORD, started=True, ready=True, state=SessionState.RUNNING)


def test_an_eviction_is_told_until_the_scheduler_says_it_better():
    session = Session(RUNNING, ("alice", ""), Host())
    session.event("evicting", "SIGTERM", "", seconds_left=30)
    assert "ends in 30 s" in session.record.why
    session.observe(replace(VIEW, state=JobState.RUNNING), now() + 60)
    assert session.record.state is SessionState.EVICTING
    assert "ends in 30 s" in session.record.why
    session.event("ended", "the server ended with status 0", "")
    assert session.record.why == "The batch system has ended your session."
    ended = replace(VIEW, state=JobState.ENDED, reason="Its time was up.", cause=Cause.WALLTIME)
    session.observe(ended, now() + 60)
    assert (session.record.why, session.record.cause) == ("Its time was up.", "walltime")


def test_what_the_scheduler_has_said_of_an_eviction_is_not_overruled_by_the_agent():
    session = Session(RUNNING, ("alice", ""), Host())
    session.event("evicting", "SIGTERM", "", seconds_left=22)
    reason = "An admin (root) has removed the job."
    removed = replace(VIEW, state=JobState.EVICTING, reason=reason, cause=Cause.REMOVED)
    session.observe(removed, now() + 60)
    session.event("ended", "the server ended with status 0", "")
    session.end("The job was removed.")
    assert (session.record.why, session.record.cause) == (reason, "removed")


@pytest.mark.parametrize(
    ("reason", "cause"),
    [("The program ended with status 137.", Cause.FAILED), ("Cancelled.", Cause.REMOVED)],
)
def test_how_a_server_failed_its_agent_says_better_than_the_scheduler(reason, cause):
    session = Session(RUNNING, ("alice", ""), Host())
    session.event("failed", "the server was killed by the node", "the last lines")
    session.observe(replace(VIEW, state=JobState.ENDED, reason=reason, cause=cause), now() + 60)
    said = "Your session's server was killed by the node."
    assert session.record.ended
    assert (session.record.why, session.record.cause) == (said, "failed")


def test_that_a_server_failed_for_the_memory_of_its_job_the_scheduler_says_better():
    session = Session(RUNNING, ("alice", ""), Host())
    session.event("failed", "the server was killed by the node", "the last lines")
    reason, cause = "The job ran out of memory.", Cause.OUT_OF_MEMORY
    session.observe(replace(VIEW, state=JobState.ENDED, reason=reason, cause=cause), now() + 60)
    assert (session.record.why, session.record.cause) == (reason, Cause.OUT_OF_MEMORY)


def test_a_node_that_is_taken_back_at_the_end_of_the_walltime_says_so():
    session = Session(replace(RUNNING, ends_at=time.time() + 2), ("alice", ""), Host())
    session.event("evicting", "SIGTERM", "", seconds_left=30)
    assert "time is up" in session.notices[0].message
    assert session.record.cause == "walltime"


RUNS = replace(VIEW, state=JobState.RUNNING, walltime_s=600.0, started_at=4e9, ends_at=4e9 + 600)


def test_the_hubs_own_clock_ends_what_the_scheduler_lets_run_on(session):
    session.update(ready=True, started=True, began_at=1000.0)
    session.observe(RUNS, now())
    session.remind(1000.0 + 600 + 119)
    assert not session.record.over
    session.remind(1000.0 + 600 + 121)
    assert (session.record.over, session.host.over) == (True, 1)
    assert session.record.cause == Cause.WALLTIME
    assert "time was up" in session.record.why
    # What the scheduler says of our cancel is no better.
    session.observe(replace(VIEW, state=JobState.ENDED, cause=Cause.REMOVED, reason="Gone."), now())
    assert (session.record.cause, session.record.ended) == (Cause.WALLTIME, True)
    assert "time was up" in session.record.why


def test_a_session_that_an_admin_has_prolonged_is_left_its_new_walltime(session):
    session.update(ready=True, started=True, began_at=1000.0)
    session.observe(RUNS, now())
    session.observe(replace(RUNS, walltime_s=6000.0), now())
    session.remind(1000.0 + 600 + 121)
    assert not session.record.over


def test_where_the_scheduler_alone_counts_the_hub_ends_nothing(session):
    session.update(ready=True, started=True, began_at=1000.0)
    session.observe(replace(RUNS, walltime_s=None), now())
    session.remind(1e9)
    assert not session.record.over
