"""Routes of the proxy that JupyterHub does not keep: after its restart, and of stopped servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from jupyterhub import orm
from jupyterhub.utils import url_escape_path, url_path_join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_EVERY = 5.0
"""Seconds; as often as JupyterHub looks after a proxy that it started itself."""


async def keep_routes(app: Any) -> None:
    """Tell the proxy what it should know, for as long as the hub runs.

    Parameters
    ----------
    app
        The running JupyterHub.
    """
    keeper = RouteKeeper(app)
    while True:
        await asyncio.sleep(_EVERY)
        try:
            await keeper.look()
        except Exception as error:  # it is away: it is asked again
            app.log.warning("The proxy cannot be told its routes: %r", error)


class RouteKeeper:
    """What the proxy was told besides what JupyterHub tells it.

    Parameters
    ----------
    app
        The running JupyterHub.
    stopped
        Returns owners and names of stopped named servers.
    """

    def __init__(
        self, app: Any, stopped: Callable[[Any], list[tuple[int, str]]] | None = None
    ) -> None:
        self._app = app
        self._stopped = stopped or _stopped
        self._led: set[str] = set()
        """Routes of stopped servers that lead to the hub."""

    async def look(self) -> None:
        """Tell a proxy that was restarted all routes, and where stopped servers are looked for.

        JupyterHub itself looks every five minutes, and servers would be out of reach until then.
        """
        app = self._app
        if not app.proxy.should_start and app.hub.routespec not in await app.proxy.get_all_routes():
            self._led.clear()
            await app.proxy.restore_routes()
        if not hasattr(app.proxy, "api_request"):
            return
        wanted = set(stopped_places(app.users.values(), self._stopped(app.db)))
        for spec in wanted - self._led:
            # JupyterHub removes what it does not know, of what is marked as its own.
            path = app.proxy._routespec_to_chp_path(spec)  # noqa: SLF001 - no other way to name it
            await app.proxy.api_request(path, method="POST", body={"target": app.hub.host})
            self._led.add(spec)
        started = set(active_places(app.users.values()))
        for spec in self._led - wanted:
            self._led.discard(spec)
            if spec not in started:  # else the server's own route has taken its place
                await app.proxy.delete_route(spec)


def stopped_places(users: Iterable[Any], stopped: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Yield the routes of stopped named servers that would lead into their owners' default ones.

    There they would be a bare 404; at the hub they are a page that says why the server ended.

    Parameters
    ----------
    users
        JupyterHub's users.
    stopped
        Ids of their owners, and names, of the servers that the database shows as stopped.
    """
    known = {user.id: user for user in users}
    for owner, name in stopped:
        user = known.get(owner)
        default = user.spawners.get("") if user is not None else None
        if user is None or default is None or not default.ready:
            continue
        spawner = user.spawners.get(name)
        if spawner is None or not spawner.active:
            yield _place(user, name)


def _stopped(database: Any) -> list[tuple[int, str]]:
    """Return owners and names of stopped named servers, in one question to the database."""
    row = orm.Spawner
    query = database.query(row.user_id, row.name)
    return [tuple(found) for found in query.filter(row.server_id.is_(None), row.name != "")]


def active_places(users: Iterable[Any]) -> Iterator[str]:
    """Yield the routes of the named servers that run, start or stop."""
    for user in users:
        for name, spawner in user.spawners.items():
            if name and spawner.active:
                yield _place(user, name)


def _place(user: Any, name: str) -> str:
    return str(url_path_join(user.proxy_spec, url_escape_path(name), "/"))
