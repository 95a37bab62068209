"""The site file changes while a real hub runs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from roost_hub import startup
from roost_spawner.sessions import registry

from tests.support.fake_cluster import FakeCluster
from tests.support.session_hub import SITE

pytestmark = pytest.mark.hub


@pytest.fixture
async def engine(hub):
    return await startup.begin(hub.app, site_file(hub))


def site_file(hub):
    return Path(hub.app.config.RoostSpawner.site_file)


def write(hub, old="", new=""):
    text = SITE.format(port=hub.app.hub.port, python=sys.executable)
    assert old in text
    site_file(hub).write_text(text.replace(old, new, 1) + (new if not old else ""))


async def until(condition, limit=2.0):
    """Wait for what the issue promises within two seconds."""
    for _ in range(int(limit / 0.05)):
        if condition():
            return True
        await asyncio.sleep(0.05)
    return False


GPU = "  gpu: {title: GPU, cluster: gpus, gpus: {choices: [1, 2]}}\n"


async def test_a_change_is_in_force_though_nobody_asks(hub, engine):
    write(hub, "title: Interactive,", "title: Other words,")
    assert await until(lambda: engine.file._site.profiles["interactive"].title == "Other words")


async def test_a_broken_file_is_noticed_though_nobody_asks_and_the_hub_goes_on(hub, engine):
    write(hub, "cluster: pool", "cluster: pol")
    assert await until(lambda: engine.file.error is not None)
    assert "there is no cluster 'pol'" in engine.file.error.sentence
    assert engine.site.profiles["interactive"].cluster == "pool"


async def test_a_cluster_that_comes_is_watched_and_one_that_goes_no_more(hub, engine, tmp_path):
    hub.clusters["more"] = FakeCluster("more", tmp_path)
    write(hub, "profiles:", "  more: {kind: slurm, broker: 'https://b.example.org/'}\nprofiles:")
    assert await until(lambda: "watch" in hub.clusters["more"].calls)
    write(hub)
    assert await until(lambda: "more" not in engine._watchers)


async def test_a_cluster_that_goes_is_watched_while_it_has_a_session(hub, engine):
    session = await hub.submitted(profile="gpu")
    text = SITE.format(port=hub.app.hub.port, python=sys.executable)
    text = text.replace(GPU, "").splitlines(keepends=True)
    site_file(hub).write_text("".join(line for line in text if not line.startswith("  gpus:")))
    assert await until(lambda: "gpus" not in engine.site.clusters)
    await asyncio.sleep(0.6)
    assert not session.record.over
    hub.gpus.jobs.clear()
    assert await until(lambda: registry.get(session.record.id) is None, 10)
    assert await until(lambda: "gpus" not in engine._watchers, 3)


async def test_sessions_and_clusters_that_did_not_change_are_left_alone(hub, engine):
    session = await hub.submitted()
    before = engine.cluster("pool"), engine.watcher("pool"), session.record
    write(hub, "title: GPU", "title: Another")
    assert await until(lambda: engine.site.profiles["gpu"].title == "Another")
    assert (engine.cluster("pool"), engine.watcher("pool")) == before[:2]
    assert session.record.job_id == before[2].job_id
    assert not session.record.over


async def test_a_cluster_is_not_exchanged_under_its_sessions(hub, engine):
    session = await hub.submitted()
    write(hub, "schedd: ap", "schedd: other")
    assert await until(lambda: engine.file.error is not None)
    assert "schedd cannot change while it has 1 session" in engine.file.error.sentence
    hub.pool.jobs.clear()
    await session.until(lambda record: record.ended, 10)
    assert await until(lambda: engine.site.clusters["pool"].schedd == "other", 3)
    assert engine.file.error is None


async def test_the_authenticator_learns_what_logins_must_ask_for_from_now_on(hub, monkeypatch):
    asked = []

    def ask_for(self, audiences, scopes):
        new = tuple(sorted((set(audiences) | set(scopes)) - set(asked)))
        asked.extend(new)
        return new

    monkeypatch.setattr(type(hub.app.authenticator), "ask_for", ask_for, raising=False)
    engine = await startup.begin(hub.app, site_file(hub))
    tokens = 'tokens: {t: {audience: "https://new", scope: "x:/"}}'
    write(hub, "title: GPU,", f"title: GPU, {tokens},")
    assert await until(lambda: "https://new" in asked), engine.file.error
    assert "Logins ask for https://new, x:/ from now on." in engine.file.history[0].said[-1]
