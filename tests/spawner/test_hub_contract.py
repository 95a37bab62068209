"""What JupyterHub promises its users about any spawner, kept by ours."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest
from roost_spawner.sessions import registry

pytestmark = pytest.mark.hub


class Browser:
    """A person with cookies at the hub itself."""

    def __init__(self, hub, name):
        self._hub, self._name = hub, name
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self):
        _, page = await self.get("login")
        token = re.search(r'name="_xsrf" value="([^"]+)"', page)[1]
        form = {"username": self._name, "password": "any", "_xsrf": token}
        async with self._http.post(self._hub.app.url + "login", data=form) as answer:
            assert answer.ok
        return self

    async def __aexit__(self, *_):
        await self._http.close()

    async def get(self, path):
        async with self._http.get(self._hub.app.url + path, allow_redirects=False) as answer:
            return answer.status, await answer.text()


async def test_a_link_with_opt_parameters_starts_what_it_names(hub):
    hub.gpus.run_for_real = True
    async with Browser(hub, "alice") as alice:
        status, _ = await alice.get("spawn?opt-profile=gpu&opt-gpus=2")
        assert status == 302
    assert (await hub.settled())["ready"]
    assert hub.gpus.requests[0].resources.gpus == 2
    assert hub.spawner().user_options == {"profile": "gpu", "gpus": "2"}


async def test_a_link_with_a_choice_that_is_not_allowed_starts_nothing_and_says_why(hub):
    async with Browser(hub, "alice") as alice:
        status, page = await alice.get("spawn?opt-profile=gpu&opt-gpus=7")
    assert status == 400
    assert "gives gpus: 1, 2" in page
    assert 'name="profile"' in page, "the form is there to choose again"
    assert hub.gpus.requests == []


async def test_a_named_server_started_by_a_link_is_the_one_named(hub):
    hub.pool.run_for_real = True
    async with Browser(hub, "alice") as alice:
        await alice.get("spawn/alice/analysis?opt-profile=interactive")
    assert (await hub.settled(server="analysis"))["ready"]
    assert [session.place for session in registry] == [("alice", "analysis")]


async def test_the_last_choice_is_kept_and_starts_the_same_again(hub):
    hub.gpus.run_for_real = True
    await hub.spawn(profile="gpu", gpus="2")
    assert (await hub.settled())["user_options"] == {"profile": "gpu", "gpus": "2"}
    await hub.fetch("DELETE", "api/users/alice/server")
    assert await hub.settled() is None
    assert hub.spawner().orm_spawner.user_options == {"profile": "gpu", "gpus": "2"}


async def test_a_failed_start_does_not_stand_in_the_way_of_the_next(hub):
    hub.app.config.RoostSpawner.cmd, good = ["false"], hub.app.config.RoostSpawner.cmd
    hub.pool.run_for_real = True
    first = await hub.spawn()
    assert await hub.settled() is None
    hub.app.config.RoostSpawner.cmd = good
    second = await hub.spawn()
    assert second.record.id != first.record.id
    assert (await hub.settled())["ready"]


async def test_a_server_can_be_stopped_and_started_again_at_once(hub):
    hub.pool.run_for_real = True
    for _ in range(2):
        await hub.spawn()
        assert (await hub.settled())["ready"]
        assert (await hub.fetch("DELETE", "api/users/alice/server"))[0] in (202, 204)
        assert await hub.settled() is None
    assert hub.pool.jobs == {}
    assert list(registry) == []


async def _gone(hub):
    for _ in range(100):
        if not hub.pool.jobs and not list(registry):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"left behind: {hub.pool.jobs} {list(registry)}")


async def test_a_named_server_that_is_removed_while_it_runs_leaves_nothing(hub):
    hub.pool.run_for_real = True
    await hub.spawn(server="one")
    assert (await hub.settled(server="one"))["ready"]
    url = hub.app.url + "api/users/alice/servers/one"
    headers = {"Authorization": f"token {hub.token}"}
    async with aiohttp.request("DELETE", url, json={"remove": True}, headers=headers) as answer:
        assert answer.status in (202, 204)
    await _gone(hub)
    assert "one" not in hub.app.users["alice"].spawners


async def test_a_user_who_is_deleted_leaves_no_job(hub):
    hub.pool.run_for_real = True
    await hub.spawn()
    assert (await hub.settled())["ready"]
    code, _ = await hub.fetch("DELETE", "api/users/alice")
    assert code == 204
    await _gone(hub)


@pytest.mark.parametrize("server", ["", "one"])
async def test_progress_tells_of_named_servers_too(hub, server):
    hub.pool.run_for_real = True
    await hub.spawn(server=server)
    path = f"api/users/alice/servers/{server}/progress"
    _, answer = await hub.fetch("GET", path)
    assert "1 core, 1 GiB for 1h" in answer["text"]
    assert '"ready": true' in answer["text"]


async def test_a_shared_server_lets_the_guest_in_but_not_be_its_agent(hub):
    hub.pool.run_for_real = True
    session = await hub.spawn()
    assert (await hub.settled())["ready"]
    await hub.fetch("POST", "api/users/bob")
    code, answer = await hub.fetch("POST", "api/shares/alice/", {"user": "bob"})
    assert code == 200, answer
    token = hub.app.users["bob"].new_api_token()
    _, model = await hub.fetch("GET", "api/user", token=token)
    assert "access:servers!server=alice/" in model["scopes"]
    for what, body in (
        ("tokens", {}),
        ("ready", {"port": 2000}),
        ("event", {"kind": "ended", "reason": "x"}),
    ):
        assert (await hub.handoff(session, what, body, token))[0] == 403
    assert session.record.ready
    assert not session.record.over


async def test_what_the_form_offers_follows_the_users_groups(hub):
    async with Browser(hub, "alice") as alice:
        _, page = await alice.get("spawn")
    assert "Interactive" in page
    assert "GPU" in page
