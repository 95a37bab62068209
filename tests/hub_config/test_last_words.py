"""Why a session ended: the same sentence for its owner, on every page, and in the hub's log."""

from __future__ import annotations

import asyncio
import logging

import pytest
from roost_hub import stops
from roost_hub.overrides import put_first
from roost_spawner import last_end
from roost_spawner.clusters.base import Cause, JobState
from roost_spawner.errors import ClusterRefused

pytestmark = pytest.mark.hub

STATUS = "api/roost/v1/servers/alice"


async def ready(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    return session


async def over(hub, session):
    assert await session.until(lambda record: record.ended, 10)
    assert await hub.settled() is None
    await asyncio.wait_for(session.farewell, 5)


def lines(caplog):
    found = [record.getMessage() for record in caplog.records]
    return [line for line in found if line.startswith("Session ended: ")]


async def page(hub):
    """Return the page that stands in a server's place while that does not run."""
    token = hub.app.users["alice"].new_api_token()
    headers = {"Accept": "text/html"}
    return (await hub.fetch("GET", "user/alice/lab", token=token, headers=headers))[1]["text"]


async def home(hub):
    """Return what the home page says of the default server's end."""
    _, told = await hub.fetch("GET", "api/roost/v1/users/alice/servers")
    return told["servers"][0]["words"]["ended"]


async def test_the_log_has_one_line_with_what_the_owner_is_shown(hub, caplog):
    caplog.set_level(logging.INFO)
    session = await ready(hub)
    reason = "An admin (root) has\n removed the job: \x1b[31mred"
    hub.pool.move("1.0", state=JobState.ENDED, reason=reason, cause=Cause.REMOVED)
    await hub.spawner().engine.watcher("pool").look()
    await over(hub, session)
    (line,) = lines(caplog)
    for part in ("user alice", "server (default)", "job 1.0 of pool", "cause removed"):
        assert part in line
    assert session.record.mark in line
    assert line.endswith("An admin (root) has removed the job:  [31mred")
    assert "An admin (root) has" in await page(hub)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("idle-culler", "Nobody was using it, so the hub stopped it (idle-culler)."),
        ("backup", "The hub's service backup stopped it."),
    ],
)
def test_a_service_that_stops_a_server_is_named(name, says):
    assert last_end.stopper(name, service=True) == says


async def test_an_admins_stop_is_told_to_the_owner_and_an_owners_own_is_not(hub, caplog):
    caplog.set_level(logging.INFO)
    put_first(hub.app, stops.HANDLERS)
    session = await ready(hub)
    await hub.fetch("POST", "api/users/carol", {"admin": True})
    carol = hub.app.users["carol"]
    code, _ = await hub.fetch("DELETE", "api/users/alice/server", token=carol.new_api_token())
    assert code in (202, 204)
    await over(hub, session)
    says = "The admin carol stopped it."
    assert (await hub.fetch("GET", STATUS))[1]["why"] == says
    assert says in await page(hub)
    assert says in await home(hub)
    assert lines(caplog)[-1].endswith(says)
    session = await ready(hub)
    token = hub.app.users["alice"].new_api_token()
    assert (await hub.fetch("DELETE", "api/users/alice/server", token=token))[0] in (202, 204)
    await over(hub, session)
    assert "why" not in (await hub.fetch("GET", STATUS))[1]
    assert lines(caplog)[-1].endswith(last_end.BY_OWNER)


async def test_whoever_may_not_stop_a_server_is_not_said_to_have_stopped_it(hub):
    put_first(hub.app, stops.HANDLERS)
    await ready(hub)
    await hub.fetch("POST", "api/users/mallory")
    token = hub.app.users["mallory"].new_api_token()
    assert (await hub.fetch("DELETE", "api/users/alice/server", token=token))[0] in (403, 404)
    assert hub.spawner().stopped_by == ""


async def test_a_start_that_failed_is_told_on_the_home_page_until_the_next(hub):
    hub.pool.refuse = ClusterRefused("The pool takes no more than 20 sessions of one user.")
    await hub.spawn()
    assert await hub.settled() is None
    says = "Your server has not started: The pool takes no more than 20 sessions of one user."
    assert says in await home(hub)
    hub.app.users["alice"].spawners.pop("", None)  # as a restart of the hub forgets it
    assert says in await page(hub)
    hub.pool.refuse = None
    await ready(hub)
    assert "has not started" not in await home(hub)
