"""Whose grant is kept, since a job of theirs is still to be ended with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from roost_hub import startup
from roost_spawner.record import SessionState

pytestmark = pytest.mark.hub


async def test_a_grant_is_needed_while_a_job_is_there(hub):
    session = await hub.submitted()
    assert startup._has_job("alice")
    assert not startup._has_job("bob")
    session.record = replace(session.record, state=SessionState.ENDED)
    assert not startup._has_job("alice")
