"""The state machine as a table: what each view of a job makes of a session in each stage."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roost_spawner.clusters.base import Cause, JobState, JobView
from roost_spawner.record import Record, SessionState
from roost_spawner.sessions import Session

pytestmark = pytest.mark.unit

FRESH = Record(
    id="b" * 32,
    hub_id="hub",
    cluster="pool",
    profile="interactive",
    account="alice",
    needs_ticket=True,
    submitting=True,
    job_id="1",
    state=SessionState.QUEUED,
)
STAGES = {
    "queued": FRESH,
    "starting": replace(FRESH, started=True, state=SessionState.STARTING),
    "running": replace(FRESH, started=True, ready=True, state=SessionState.RUNNING),
}
LIVES, OVER = False, True
# What the batch system shows -> state and whether it is over, by stage.
TABLE = {
    JobState.QUEUED: [("queued", LIVES), ("evicting", OVER), ("evicting", OVER)],
    JobState.STARTING: [("starting", LIVES), ("starting", LIVES), ("starting", LIVES)],
    JobState.RUNNING: [("starting", LIVES), ("starting", LIVES), ("running", LIVES)],
    JobState.HELD: [("held", OVER), ("held", OVER), ("held", OVER)],
    JobState.SUSPENDED: [("suspended", LIVES), ("suspended", LIVES), ("suspended", LIVES)],
    JobState.EVICTING: [("evicting", LIVES), ("evicting", LIVES), ("evicting", LIVES)],
    JobState.ENDED: [("ended", OVER), ("ended", OVER), ("ended", OVER)],
    JobState.UNKNOWN: [("unknown", LIVES), ("unknown", LIVES), ("unknown", LIVES)],
}
ROWS = [
    pytest.param(stage, state, *expected, id=f"{stage}-{state}")
    for state, row in TABLE.items()
    for stage, expected in zip(STAGES, row, strict=True)
]


class Host:
    over = 0

    def keep(self):
        pass

    def session_over(self, session):
        self.over += 1

    def follow(self, session):
        pass


def view(state):
    return JobView("1", state, mark=FRESH.mark, owner="alice")


def test_every_state_of_a_job_has_its_row():
    assert set(TABLE) == set(JobState)


@pytest.mark.parametrize(("stage", "state", "becomes", "over"), ROWS)
def test_what_a_view_makes_of_a_session(stage, state, becomes, over):
    session = Session(STAGES[stage], ("alice", ""), Host())
    session.observe(view(state), time.monotonic() + 60)
    assert (session.record.state, session.record.over) == (becomes, over)
    assert session.host.over == over


@pytest.mark.parametrize(("stage", "over"), [("queued", LIVES), ("starting", OVER)])
def test_a_job_that_somebody_holds_before_it_starts_goes_on_waiting(stage, over):
    session = Session(STAGES[stage], ("alice", ""), Host())
    held = replace(view(JobState.HELD), cause=Cause.HELD, reason="An admin (carol) holds it.")
    session.observe(held, time.monotonic() + 60)
    assert (session.record.state, session.record.over) == ("held", over)
    assert session.record.why == "An admin (carol) holds it."
    if over is LIVES:
        session.observe(view(JobState.RUNNING), time.monotonic() + 61)
        assert session.record.state == "starting"


@given(st.lists(st.sampled_from([s for s in JobState if TABLE[s][2][1] is LIVES] + ["away"])))
def test_no_row_of_lives_and_outages_ends_a_running_session(seen):
    session = Session(STAGES["running"], ("alice", ""), Host())
    for state in seen:
        if state == "away":
            session.unreachable("The pool does not answer.")
        else:
            session.observe(view(state), time.monotonic() + 60)
    assert not session.record.over
    session.observe(view(JobState.RUNNING), time.monotonic() + 60)
    # What is being evicted does not come back, whatever an old picture shows.
    stays = SessionState.EVICTING if JobState.EVICTING in seen else SessionState.RUNNING
    assert session.record.state in (SessionState.RUNNING, stays)


@given(st.lists(st.sampled_from(JobState)), st.lists(st.sampled_from(JobState)))
def test_what_is_over_never_lives_again_and_is_told_once(before, after):
    session = Session(STAGES["running"], ("alice", ""), Host())
    for state in [*before, JobState.HELD, *after]:
        session.observe(view(state), time.monotonic() + 60)
        over = session.record.over
        assert over or not session.host.over
    assert session.record.over
    assert session.host.over == 1
