"""A real hub with sessions on batch systems that obey the test: the fixture ``hub``."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import pytest
from jupyterhub import scopes
from jupyterhub.auth import DummyAuthenticator
from roost_hub import health_api, servers
from roost_hub.admin import handlers as admin
from roost_hub.api import HANDLERS
from roost_hub.configure import TEMPLATES
from roost_hub.page_security import secure_pages
from roost_spawner import sessions
from roost_spawner.engine import _engines
from roost_spawner.gauges import gauges
from roost_spawner.handoff import PREFIX, SCOPE
from roost_spawner.spawner import RoostSpawner
from roost_spawner.starts import ledger
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from traitlets import Any as AnyTrait
from traitlets.config import Config

from tests.support.agent_hub import SERVER
from tests.support.fake_cluster import FakeCluster, FakeShepherd
from tests.support.hub import free_port, in_process_hub

SITE = """\
hub_id: test-hub
hub_url: http://127.0.0.1:{port}/
tokens:
  default: {{audience: https://data.example.org, scope: "storage.read:/"}}
clusters:
  pool:
    {{kind: htcondor, collector: cm, schedd: ap, watch_token: /none, audience: a,
      python: {python}}}
  gpus: {{kind: slurm, broker: "https://broker.example.org/", python: {python}}}
profiles:
  interactive: {{title: Interactive, cluster: pool, walltime: {{default: 1h, max: 2h}}}}
  gpu: {{title: GPU, cluster: gpus, gpus: {{choices: [1, 2]}}}}
"""
TEST_TOKEN = "token-of-the-test"


class Authenticator(DummyAuthenticator):
    shepherd = AnyTrait()


@dataclass
class Hub:
    """A real hub with fake clusters."""

    app: Any
    shepherd: FakeShepherd
    clusters: dict[str, FakeCluster]
    token: str = TEST_TOKEN
    """Of a service that may do everything."""

    @property
    def pool(self):
        return self.clusters["pool"]

    @property
    def gpus(self):
        return self.clusters["gpus"]

    async def fetch(self, method, path, body=None, token=TEST_TOKEN, headers=None):
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = f"token {token}"
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        elif method == "POST":
            body = ""
        request = HTTPRequest(
            self.app.url + path, method, headers, body, request_timeout=30, follow_redirects=False
        )
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        try:
            return answer.code, json.loads(answer.body or b"{}")
        except ValueError:
            return answer.code, {"text": answer.body.decode()}

    async def handoff(self, session, what, body, token=None):
        record = getattr(session, "record", None)
        name = record.id if record else session
        return await self.fetch("POST", f"api/{PREFIX}sessions/{name}/{what}", body, token)

    def spawner(self, user="alice", server=""):
        return self.app.users[user].spawners[server]

    async def spawn(self, user="alice", server="", **options):
        """Begin a spawn; return its session once there is one."""
        assert (await self.fetch("POST", f"api/users/{user}"))[0] in (201, 409)
        path = f"api/users/{user}/servers/{server}" if server else f"api/users/{user}/server"
        code, answer = await self.fetch("POST", path, options or {"profile": "interactive"})
        assert code in (201, 202), answer
        spawner = self.spawner(user, server)
        while spawner.session is None and spawner.pending:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return spawner.session

    async def submitted(self, user="alice", server="", **options):
        session = await self.spawn(user, server, **options)
        assert await session.until(lambda record: bool(record.job_id), 5)
        return session

    async def settled(self, user="alice", server="", limit=10):
        """Wait until nothing is pending; return the server's model, or None."""
        for _ in range(int(limit / 0.05)):
            _, model = await self.fetch("GET", f"api/users/{user}")
            found = (model.get("servers") or {}).get(server)
            if found is None or (found["ready"] and not found["pending"]):
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"still pending: {found}")

    async def progress(self, user="alice", server=""):
        """Return the messages of the progress stream until it ends."""
        _, answer = await self.fetch("GET", f"api/users/{user}/server/progress")
        lines = answer["text"].splitlines()
        return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def hub_config(site_file, shepherd, build):
    c = Config()
    c.JupyterHub.authenticator_class = Authenticator
    c.Authenticator.allow_all = True
    c.Authenticator.shepherd = shepherd
    c.JupyterHub.allow_named_servers = True
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
    secure_pages(c.JupyterHub, https=False)
    c.JupyterHub.spawner_class = type("Spawner", (RoostSpawner,), {"build_cluster": build})
    c.RoostSpawner.site_file = str(site_file)
    c.RoostSpawner.agent_folder = str(site_file.with_name("agents"))
    c.RoostSpawner.cmd = [sys.executable, "-c", SERVER]
    c.RoostSpawner.start_timeout = 60
    c.RoostSpawner.shared_nodes = ["127.0.0.1"]
    c.JupyterHub.extra_user_scopes = [f"{SCOPE}!user"]
    c.JupyterHub.services = [{"name": "test", "api_token": TEST_TOKEN, "admin": True}]
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.template_vars = {
        "roost_servers": servers.for_pages,
        "roost_last_end": servers.ends_for_pages,
    }
    c.JupyterHub.template_paths = [str(TEMPLATES)]
    c.JupyterHub.extra_handlers = [*HANDLERS, *health_api.HANDLERS, *admin.HANDLERS]
    return c


@pytest.fixture
async def hub(tmp_path, monkeypatch):
    # Scopes are the process's own, and several hubs live in it.
    assert SCOPE in scopes.scope_definitions
    port = free_port()
    site_file = tmp_path / "site.yaml"
    site_file.write_text(SITE.format(port=port, python=sys.executable))
    shepherd = FakeShepherd()
    clusters = {
        "pool": FakeCluster("pool", tmp_path),
        "gpus": FakeCluster("gpus", tmp_path, needs_ticket=True),
    }

    def build(name, model, engine):
        return clusters[name]

    registry = sessions.registry
    registry._sessions.clear()
    ledger.clear(time.time())
    monkeypatch.setattr(Authenticator, "shepherd", shepherd)
    config = hub_config(site_file, shepherd, staticmethod(build))
    async with in_process_hub(tmp_path, config, port=port) as app:
        made = Hub(app, shepherd, clusters)
        yield made
        for session in registry:
            for task in (session.submission, session.farewell, session.notice):
                if task is not None:
                    task.cancel()
        for cluster in clusters.values():
            await cluster.close()
        for engine in _engines.values():
            await engine.close()
        _engines.clear()
        gauges.engine = None
