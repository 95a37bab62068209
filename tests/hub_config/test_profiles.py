"""What a user may start, by the API and on the form, at a real hub."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime

import aiohttp
import pytest
from roost_spawner.clusters.base import Capacity, Pool, Room

pytestmark = pytest.mark.hub

ROOM = Room(4, cpus=4, memory_mib=4096)
SLOTS = Pool(total=4, free=3, unit="slots", rooms=(ROOM,), free_rooms=(ROOM,))
PROFILES = "api/roost/v1/profiles"


class Visitor:
    """Somebody with a browser that keeps cookies."""

    def __init__(self, hub, session):
        self.hub, self.session = hub, session

    async def get(self, path, **headers):
        url = self.hub.app.url + path
        async with self.session.get(url, allow_redirects=False, headers=headers) as answer:
            return answer.status, await answer.text(), answer.headers

    async def page(self, path="spawn"):
        code, text, _ = await self.get(path)
        assert code == 200, text
        return text

    async def profiles(self):
        return json.loads(await self.page(PROFILES))

    async def known(self):
        """Return the profiles by name, once every cluster has said what it has."""
        for _ in range(100):
            found = {profile["name"]: profile for profile in (await self.profiles())["profiles"]}
            if all(profile["outlook"]["as_of"] for profile in found.values()):
                return found
            await asyncio.sleep(0.02)
        raise AssertionError("a cluster was not asked")


@pytest.fixture
async def alice(hub):
    """Alice, logged in; her clusters have room."""
    hub.pool.has = Capacity({"reserved": SLOTS}, by="slot")
    hub.gpus.has = Capacity({"": Pool(total=8, free=8, gpus_total=2, gpus_free=2)})
    jar = aiohttp.CookieJar(unsafe=True)  # the hub has an address for a name
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        login = hub.app.url + "login"
        async with session.get(login) as answer:
            xsrf = answer.cookies["_xsrf"].value
        form = {"username": "alice", "password": "", "_xsrf": xsrf}
        async with session.post(login, data=form, allow_redirects=False) as answer:
            assert answer.status == 302
        yield Visitor(hub, session)


async def test_a_user_is_told_limits_and_what_is_free(alice):
    profile = (await alice.known())["interactive"]
    walltime = {"default": 3600, "max": 7200, "choices": None, "fixed": False}
    assert profile["choices"]["walltime"] == walltime
    assert profile["outlook"]["starts"] == "now"
    assert profile["outlook"]["free"] == ["3 of 4 reserved slots free"]
    assert profile["closed"] is False


async def test_only_who_may_start_servers_is_told_what_could_be_started(hub, alice):
    assert (await hub.fetch("GET", PROFILES, token=None))[0] == 401
    await hub.fetch("POST", "api/users/bob")
    assert (await alice.get(f"{PROFILES}/bob"))[0] == 403
    user = hub.app.users["alice"]
    assert (await hub.fetch("GET", PROFILES, token=user.new_api_token()))[0] == 200
    weak = user.new_api_token(scopes=["users:activity!user"])
    assert (await hub.fetch("GET", PROFILES, token=weak))[0] == 403
    assert (await hub.fetch("GET", f"{PROFILES}/bob"))[0] == 200
    assert (await hub.fetch("GET", f"{PROFILES}/nobody"))[0] == 404
    assert (await alice.get(PROFILES, **{"Sec-Fetch-Site": "cross-site"}))[0] == 403


async def test_however_many_look_a_cluster_is_asked_once(hub, alice):
    await asyncio.gather(*(alice.page() for _ in range(20)))
    await asyncio.gather(*(alice.profiles() for _ in range(20)))
    assert hub.pool.calls.count("capacity") == 1
    assert hub.gpus.calls.count("capacity") == 1


async def test_the_first_page_of_all_waits_a_moment_for_what_is_free(alice):
    assert "3 of 4 reserved slots free" in await alice.page()


async def test_a_page_does_not_wait_for_a_cluster_that_hangs(hub, alice):
    async def hang():
        await asyncio.sleep(30)

    hub.pool.capacity = hang
    async with asyncio.timeout(5):
        assert "Interactive" in await alice.page()
        assert len((await alice.profiles())["profiles"]) == 2


async def test_a_cluster_that_does_not_answer_is_told_and_can_be_chosen(hub, alice):
    hub.pool.down = True
    profile = (await alice.known())["interactive"]
    assert profile["outlook"]["why"] == "pool does not answer."
    assert profile["closed"] is False


async def test_who_knows_it_already_is_told_nothing_again(alice):
    await alice.known()
    _, _, headers = await alice.get(PROFILES)
    code, body, _ = await alice.get(PROFILES, **{"If-None-Match": headers["Etag"]})
    assert (code, body) == (304, "")


async def test_a_changed_site_file_changes_the_next_page_and_the_version(hub, alice):
    before = (await alice.profiles())["version"]
    file = hub.spawner().engine.file
    file.path.write_text(file.path.read_text().replace("max: 2h", "max: 3h"))
    await asyncio.sleep(1.5)  # 2 s are promised
    page, after = await alice.page(), (await alice.profiles())["version"]
    assert "up to 3h" in page
    assert after != before
    assert f'data-version="{after}"' in page


async def test_the_last_choice_is_remembered_and_goes_for_servers_that_have_none(hub, alice):
    await hub.submitted(profile="gpu", gpus="2")
    page = await alice.page("spawn/alice/two")
    (radio,) = re.findall('<input [^>]*value="gpu"[^>]*>', page)
    assert " checked" in radio
    assert "<option selected>2</option>" in page


@pytest.mark.parametrize("prefix", ["opt-", ""])
async def test_a_link_that_is_refused_shows_the_form_with_its_other_choices(alice, prefix):
    path = f"spawn?{prefix}profile=gpu&{prefix}gpus=2&{prefix}walltime=99h"
    code, page, _ = await alice.get(path)
    assert code == 400
    assert "GPU gives walltime" in page
    assert "<option selected>2</option>" in page
    # That was then: the next page is as ever.
    assert "<option selected>1</option>" in await alice.page()


async def test_a_link_starts_what_the_form_would(hub, alice):
    code, _, _ = await alice.get("spawn?opt-profile=gpu&opt-gpus=2")
    assert code == 302
    session = hub.spawner().session
    assert await session.until(lambda record: bool(record.job_id), 5)
    assert hub.gpus.requests[0].resources.gpus == 2


async def test_a_page_that_looks_by_itself_is_nobodys_activity(hub, alice):
    user = hub.app.users["alice"].orm_user
    user.last_activity = long_ago = datetime(2026, 1, 1)  # noqa: DTZ001 - as JupyterHub keeps it
    hub.app.db.commit()
    await alice.get(PROFILES, **{"Sec-Fetch-Site": "same-origin"})
    assert user.last_activity == long_ago
    await alice.get(PROFILES)
    assert user.last_activity > long_ago
