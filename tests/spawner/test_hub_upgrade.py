"""A hub was upgraded: jobs of the one before it wait in the queue with the agent of then."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from roost_spawner.bootstrap import agent_source

pytestmark = pytest.mark.hub

FIRST = Path(__file__).parents[1] / "data/agents/agent-1.txt"


def pinned_to_the_first(request):
    """Return a request as a hub with the first agent has made it."""
    current, first = agent_source()[1], hashlib.sha256(FIRST.read_bytes()).hexdigest()
    code = request.launcher.code
    assert current in code
    launcher = replace(request.launcher, code=code.replace(current, first))
    return replace(request, launcher=launcher), first


async def test_a_job_that_waits_with_the_first_agent_starts_all_the_same(hub):
    session = await hub.submitted()
    session.update(prologue="export FROM_PROLOGUE=yes", environment={"WHERE": "@ROOST_DIR@/x"})
    request, first = pinned_to_the_first(hub.pool.requests[0])
    shutil.copy(FIRST, Path(hub.spawner().agent_folder) / f"{first}.py")
    hub.pool.tasks.append(asyncio.create_task(hub.pool._run("1.0", request)))
    assert await session.until(lambda record: record.ready, 15), session.news
    assert session.agent_version == 1
    assert (await hub.settled())["ready"]
    code, _ = await hub.fetch("DELETE", "api/users/alice/server")
    assert code in (202, 204)
    assert await hub.settled() is None


async def test_an_agent_that_no_hub_here_has_pinned_is_not_served(hub):
    session = await hub.submitted()
    request, _ = pinned_to_the_first(hub.pool.requests[0])
    path = request.launcher.code.partition("agent/")[2].partition("'")[0]
    code, answer = await hub.fetch("GET", f"api/roost/v1/agent/{path}")
    assert code == 404
    assert session.record.ready is False
    assert "version" in answer["message"]
