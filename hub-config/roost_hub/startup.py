"""What the hub does once when it has started, before anybody comes.

Sessions outlive the hub: it takes up those that it had, looks for jobs that it forgot, and keeps
tokens fresh, whether or not a user opens a page.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyterhub.app import JupyterHub
from roost_spawner.engine import shared_engine
from roost_spawner.recovery import recover

if TYPE_CHECKING:
    from roost_spawner.engine import Engine

_POLL = 0.2
_tasks: set[asyncio.Task[None]] = set()


def schedule(site_file: str | Path) -> None:
    """Begin when the hub that is being configured has started.

    ``jupyterhub_config.py`` is read within the hub's event loop; without one (``roost check``, a
    test) nothing is to be started.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    task = loop.create_task(_begin_when_up(Path(site_file)), name="roost-startup")
    _tasks.add(task)  # the loop itself keeps weak references only
    task.add_done_callback(_tasks.discard)


async def _begin_when_up(site_file: Path) -> None:
    while not JupyterHub.initialized() or JupyterHub.instance().http_server is None:  # noqa: ASYNC110 - no event for it
        await asyncio.sleep(_POLL)
    app = JupyterHub.instance()
    try:
        await begin(app, site_file)
    except Exception:
        app.log.exception("Roost could not take up what an earlier hub has left")


async def begin(app: Any, site_file: Path) -> Engine:
    """Take up sessions, watch every cluster, route to recovered servers.

    Parameters
    ----------
    app
        The running JupyterHub.
    site_file
        The site file.
    """
    shepherd = app.authenticator.shepherd
    engine = shared_engine(site_file, shepherd, app.log, app.spawner_class.build_cluster)
    found = recover(app.tornado_settings, app.db)
    engine.recovered = True
    engine.watch_all()
    if found:
        app.log.info("Took up %d sessions", found)
    await shepherd.start()
    await _route(app)
    return engine


async def _route(app: Any) -> None:
    """Tell the proxy of each server as soon as it is known to live.

    JupyterHub does so when it has checked the last one, and one may still wait in its queue.
    """
    checking = [
        (user, name)
        for user in app.users.values()
        for name, spawner in user.spawners.items()
        if spawner.pending == "check"
    ]
    while checking:
        await asyncio.sleep(_POLL)
        still = []
        for user, name in checking:
            spawner = user.spawners[name]
            if spawner.pending == "check":
                still.append((user, name))
            elif spawner.ready:
                await app.proxy.add_user(user, name)
        checking = still
