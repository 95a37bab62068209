"""The admin page and its API, on a real hub."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import aiohttp
import pytest
from jupyterhub import roles
from roost_hub import startup
from roost_hub.admin.problems import MANY
from roost_shepherd.health import Health
from roost_spawner.clusters.base import Capacity, Pool, Use
from roost_spawner.starts import Outcome, Start, ledger

pytestmark = pytest.mark.hub

API, PAGE = "api/roost/v1/admin", "roost/admin"


@pytest.fixture
async def engine(hub):
    use = Use(cores_busy=3.14, cores_real=8)
    hub.pool.has = Capacity({"reserved": Pool(40, 12, unit="slots", waiting=3, use=use)}, by="slot")
    hub.gpus.has = Capacity({"gpu": Pool(64, 20, 4, 1)})
    return await startup.begin(hub.app, Path(hub.app.config.RoostSpawner.site_file))


@pytest.fixture
def report(hub, engine):
    """Return a function that returns what the API says."""

    async def ask():
        code, answer = await hub.fetch("GET", API)
        assert code == 200, answer
        return answer

    return ask


@pytest.fixture
def page(hub, engine):
    """Return a function that returns the page's HTML as an admin sees it."""

    async def ask(name="carol", path=PAGE):
        await hub.fetch("POST", f"api/users/{name}", {"admin": name == "carol"})
        jar = aiohttp.CookieJar(unsafe=True)  # the hub has an address for a name
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            login = hub.app.url + "login"
            async with session.get(login) as answer:
                xsrf = answer.cookies["_xsrf"].value
            form = {"username": name, "password": "", "_xsrf": xsrf}
            async with session.post(login, data=form, allow_redirects=False) as answer:
                assert answer.status == 302
            async with session.get(hub.app.url + path, allow_redirects=False) as answer:
                return answer.status, await answer.text()

    return ask


def named(items, name):
    return next(item for item in items if item["name"] == name)


async def until(ask, condition, limit=3.0):
    for _ in range(int(limit / 0.1)):
        if condition(found := await ask()):
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(json.dumps(found, indent=1))


async def test_a_hub_that_is_well_says_so(report, hub):
    found = await until(report, lambda found: all(c["answers"] for c in found["clusters"]))
    assert found["problems"] == []
    assert found["site_file"]["good"]
    pool = named(found["clusters"], "pool")
    assert pool["pools"] == [
        {
            "name": "reserved",
            "unit": "slots",
            "total": 40,
            "free": 12,
            "gpus_total": 0,
            "gpus_free": 0,
            "waiting": 3,
            "problem": "",
            "busy_cores": 3.14,
            "real_cores": 8,
        }
    ]


async def test_nobody_but_an_admin_is_told(hub, engine, page):
    code, _ = await page("alice")
    assert code == 403
    for token, refused in ((None, 403), ("wrong", 403)):
        code, answer = await hub.fetch("GET", API, token=token)
        assert (code, "clusters" in answer) == (refused, False)
    await hub.fetch("POST", "api/users/bob")
    token = hub.app.users["bob"].new_api_token()
    assert (await hub.fetch("GET", API, token=token))[0] == 403


async def test_who_may_not_read_servers_sees_no_names_of_people(hub, engine):
    await hub.submitted()
    db = hub.app.db
    roles.create_role(db, {"name": "watcher", "scopes": ["admin-ui"]})
    await hub.fetch("POST", "api/users/dora")
    roles.grant_role(db, hub.app.users["dora"].orm_user, "watcher")
    token = hub.app.users["dora"].new_api_token(scopes=["admin-ui"])
    code, answer = await hub.fetch("GET", API, token=token)
    assert code == 200
    assert answer["sessions"] == {"total": 1, "listed": []}
    assert "alice" not in json.dumps(answer)


async def test_what_is_broken_comes_first_and_the_worst_of_it_at_the_top(report, hub, engine):
    for _ in range(MANY):
        ledger.note(Start("gpu", "gpus", ledger.since + 1, Outcome.FAILED, "submit"))
    hub.pool.down = True
    engine.site.hub_id  # noqa: B018 - looks at the file before it changes
    engine.file.path.write_text("hub_id: test-hub\n")
    hub.gpus.has = Capacity({"gpu": Pool(64, 0, problem="Partition gpu is down.")})
    await engine.watcher("pool").look()
    found = await until(report, lambda found: not found["site_file"]["good"])
    levels = [problem["level"] for problem in found["problems"]]
    assert levels == sorted(levels)
    said = [" ".join(map(str, problem["what"])) for problem in found["problems"]]
    assert "site file is refused" in said[0]
    assert found["problems"][0]["said"]
    assert any("Cluster pool has not answered since" in sentence for sentence in said)
    assert any("3 of the last 3 starts of GPU failed" in sentence for sentence in said)
    assert any("Nothing starts on cluster gpus, gpu." in sentence for sentence in said)


async def test_tokens_that_are_not_looked_after_are_a_problem(report, hub):
    hub.shepherd.health = lambda: Health(good=False, sentences=("The renewals are stuck.",))
    (problem,) = (await report())["problems"]
    assert problem["level"] == "danger"
    assert problem["said"] == ["The renewals are stuck."]


async def test_starts_are_told_by_profile_with_phases_and_reasons(report, hub):
    hub.pool.run_for_real = True
    await hub.spawn()
    assert (await hub.settled())["ready"]
    ledger.note(Start("interactive", "pool", ledger.since + 1, Outcome.FAILED, "evicted"))
    found = named((await report())["profiles"], "interactive")
    assert found["states"] == {"running": 1}
    assert found["starts"]["last_hour"] == 2
    assert found["starts"]["failures"] == {"evicted": 1}
    assert set(found["seconds"]) == {"total", "submit", "queue", "server"}
    parts = sum(found["seconds"][phase]["median"] for phase in ("submit", "queue", "server"))
    assert found["seconds"]["total"]["median"] == pytest.approx(parts, abs=0.05)


async def test_sessions_in_trouble_are_listed_first_and_lead_to_their_servers(page, report, hub):
    hub.pool.run_for_real = True
    await hub.spawn("alice", "one")
    assert (await hub.settled("alice", "one"))["ready"]
    troubled = await hub.submitted("bob", profile="gpu")
    troubled.unreachable("gpus does not answer.")
    rows = (await report())["sessions"]["listed"]
    assert [(row["user"], row["state"]) for row in rows] == [
        ("bob", "unreachable"),
        ("alice", "running"),
    ]
    _, html = await page()
    assert '/hub/user/alice/one/"' in html
    assert "/hub/admin?name_filter=bob" in html


async def test_the_page_shows_it_and_escapes_what_people_wrote(page, hub, engine):
    text = engine.file.path.read_text().replace("title: GPU", "title: <b>GPU</b>")
    engine.file.path.write_text(text)
    await until(lambda: _none(engine.site.profiles["gpu"].title), lambda title: "<b>" in title)
    engine.file.path.write_text("hub_id: <script>alert(1)</script>\n")
    await until(lambda: _none(engine.site and engine.file.error), bool)
    code, html = await page()
    assert code == 200
    assert "&lt;b&gt;GPU&lt;/b&gt;" in html
    assert "<script>alert(1)" not in html
    assert "12 of 40 slots free; 3 jobs wait" in re.sub(r"\s+", " ", html)
    assert "5.0 on each. The 28 taken keep 3.1 of the cores busy." in html


async def _none(value):
    return value


async def test_an_admin_finds_the_page_and_others_do_not(hub, page):
    _, html = await page()
    assert 'href="/hub/roost/admin"' in html
    for name, there in (("carol", True), ("alice", False)):
        _, html = await page(name, "home")
        assert ('href="/hub/roost/admin"' in html) is there, name


async def test_a_hub_that_has_just_started_asks_for_patience(hub):
    code, answer = await hub.fetch("GET", API)
    assert code == 503
    assert "just started" in answer["message"]
