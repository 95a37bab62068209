"""A real JupyterHub inside the test's own process, without a proxy.

Requests go to the hub itself, which is all that logins, pages and the API need.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from typing import TYPE_CHECKING, Any

from jupyterhub.app import JupyterHub
from jupyterhub.crypto import CryptKeeper
from jupyterhub.proxy import Proxy
from traitlets.config import Config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class NoProxy(Proxy):  # type: ignore[misc]
    """Keeps its routes in memory, and routes nothing."""

    should_start = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.routes: dict[str, dict[str, Any]] = {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Remember a route."""
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        """Forget a route."""
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """Return what is remembered."""
        return self.routes


class InProcessHub(JupyterHub):  # type: ignore[misc]
    """JupyterHub that leaves signals and logging to the test."""

    def init_signal(self) -> None:
        """Leave them alone."""

    def load_config_file(self, *_: object, **__: object) -> None:
        """Take no file: the configuration was given."""

    def init_logging(self) -> None:
        """Let pytest see the log."""
        super().init_logging()
        self.log.handlers.clear()
        self.log.propagate = True
        self.log.setLevel(logging.DEBUG)

    @property
    def url(self) -> str:
        """Where the hub answers, with a trailing slash."""
        return f"http://127.0.0.1:{self.hub.port}/hub/"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _give_up_starts(hub: InProcessHub) -> None:
    """End what waits for a server: a look at it later would open JupyterHub's client once more."""
    spawners = [spawner for user in hub.users.values() for spawner in user.spawners.values()]
    starts = [one._spawn_future for one in spawners if one._spawn_future]
    for start in starts:
        start.cancel()
    await asyncio.gather(*starts, return_exceptions=True)


@contextlib.asynccontextmanager
async def in_process_hub(
    folder: Path, config: Config, *, port: int | None = None
) -> AsyncIterator[InProcessHub]:
    """Run a hub in this event loop.

    Parameters
    ----------
    folder
        For its database and cookie secret.
    config
        What ``jupyterhub_config.py`` would set.
    port
        Where it listens; a free one by default.
    """
    base = Config()
    base.JupyterHub.bind_url = f"http://127.0.0.1:{free_port()}/"
    base.JupyterHub.hub_ip = "127.0.0.1"
    base.JupyterHub.hub_port = port or free_port()
    base.JupyterHub.proxy_class = NoProxy
    base.JupyterHub.db_url = f"sqlite:///{folder}/jupyterhub.sqlite"
    base.JupyterHub.cookie_secret = secrets.token_bytes(32)
    base.JupyterHub.spawner_class = "simple"
    base.merge(config)
    keeper = CryptKeeper.instance()
    keeper.keys = keeper.keys or [secrets.token_bytes(32)]  # a second hub reads the first one's
    hub = InProcessHub(config=base)
    await hub.initialize([])
    await hub.start()
    try:
        yield hub
    finally:
        hub.http_server.stop()
        await hub.http_server.close_all_connections()
        hub.metrics_collector.stop()
        for callback in hub._periodic_callbacks.values():
            callback.stop()
        await _give_up_starts(hub)
        await hub.cleanup()
        if hasattr(hub.authenticator, "close"):
            await hub.authenticator.close()
        hub.db.close()
        hub.db.get_bind().dispose()
