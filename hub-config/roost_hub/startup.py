"""What the hub does once when it has started, before anybody comes.

Sessions outlive the hub: it takes up those that it had, looks for jobs that it forgot, and keeps
tokens fresh, whether or not a user opens a page.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyterhub.app import JupyterHub
from jupyterhub.utils import make_ssl_context, url_path_join
from roost_shepherd import audit
from roost_spawner.engine import shared_engine
from roost_spawner.gauges import gauges
from roost_spawner.origin import Origin
from roost_spawner.recovery import recover
from roost_spawner.sessions import registry
from sqlalchemy.engine import make_url
from tornado.httpclient import HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from roost_hub import spawn_clicks, stops, streams
from roost_hub.overrides import put_first
from roost_hub.proxy_routes import keep_routes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roost_spawner.engine import Engine
    from roost_spawner.sessions import Session
    from roost_spawner.site.models import Site

ENGINE = "roost_engine"
"""Where the web application's settings have the hub's engine, once Roost has begun."""
_POLL, _AGAIN, _PATIENCE = 0.2, 2.0, 300.0
_LAST_ANSWERS = 20.0
"""Seconds that renewals under way get when the hub ends: more than a call to the provider takes."""
_BUSY = frozenset({429, 503})
"""JupyterHub starts only so many servers at once."""
_tasks: set[asyncio.Task[None]] = set()


def schedule(site_file: str | Path, audit_log: str | Path | None = None) -> None:
    """Begin when the hub that is being configured has started.

    ``jupyterhub_config.py`` is read within the hub's event loop; without one (``roost check``, a
    test) nothing is to be started.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if audit_log is not None:
        atexit.register(audit.open_log(audit_log))
    _keep(loop.create_task(_begin_when_up(Path(site_file)), name="roost-startup"))


def _keep(task: asyncio.Task[None]) -> None:
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
    _keep(asyncio.create_task(keep_routes(app), name="roost-proxy-routes"))
    _settle()


def _settle() -> None:
    """Have garbage collections pass over what is there now, for it stays.

    Some 300,000 objects, most of them of imports: each full collection would stop the hub for 0.2 s
    or more to find nothing.  Source: Python's reference, ``gc.freeze``.
    """
    gc.collect()
    gc.freeze()


async def begin(app: Any, site_file: Path) -> Engine:
    """Take up sessions, follow the site file, watch every cluster, route to recovered servers.

    Parameters
    ----------
    app
        The running JupyterHub.
    site_file
        The site file.
    """
    shepherd = app.authenticator.shepherd
    engine = shared_engine(site_file, shepherd, app.log, app.spawner_class.build_cluster)
    found = recover(app.tornado_application.settings, app.db)
    if hasattr(shepherd, "lineage"):
        engine.origin = Origin(await shepherd.lineage(), engine.site.hub_url)
    engine.recovered = True
    if hasattr(app.authenticator, "ask_for"):
        engine.on_change.append(lambda site: _ask_for(app.authenticator, site))
    engine.follow()
    put_first(app, [*spawn_clicks.HANDLERS, *stops.HANDLERS, *streams.HANDLERS])
    keep_private(app.db_url, app.log)
    gauges.engine = app.tornado_application.settings[ENGINE] = engine
    # A grant is not given up while a job of its owner's is still to be ended with it.
    if hasattr(app.authenticator, "sessions_of"):
        app.authenticator.sessions_of.append(_has_job)
    if found:
        app.log.info("Took up %d sessions", found)
    _stop_at_exit(app, getattr(app.authenticator, "close", None) or shepherd.stop)
    await shepherd.start()
    waiting = [s for s in registry if getattr(s.host, "waiting", None) is s]
    await asyncio.gather(_route(app), *(_go_on(app, session) for session in waiting))
    return engine


def keep_private(db_url: str, log: Any) -> None:
    """Take the file of JupyterHub's database from other accounts: it has hashes of every token.

    Parameters
    ----------
    db_url
        JupyterHub's ``db_url``; only a file of SQLite's is looked at.
    log
        Told when the file was not the hub's alone.
    """
    url = make_url(db_url)
    if url.get_backend_name() != "sqlite" or url.database in {None, "", ":memory:"}:
        return
    for path in (Path(f"{url.database}{suffix}") for suffix in ("", "-wal", "-shm")):
        if path.exists() and path.stat().st_mode & 0o077:
            path.chmod(0o600)
            log.warning("Other accounts could read %s; it is the hub's alone from now on", path)


def _ask_for(authenticator: Any, site: Site) -> list[str]:
    """Have logins ask for what a changed site file needs; say who has to log in again for it."""
    new = authenticator.ask_for(site.audiences(), site.scopes())
    if not new:
        return []
    what = f"Logins ask for {', '.join(new)} from now on."
    return [f"{what} Who is logged in already has to log in again to get tokens for it."]


def _stop_at_exit(app: Any, stop: Callable[[], Awaitable[None]]) -> None:
    """Let a hub that is told to end commit the renewals that it began.

    JupyterHub has no hook for it, and cancels all tasks after its ``cleanup``: one that waits for
    the provider's answer would lose a rotated refresh token.  Before the clean-up, which may take
    longer than whoever ends the hub has patience; and after it, for it may stop servers, which
    takes tokens.
    """
    clean_up = app.cleanup

    async def stop_and_clean_up() -> None:
        await _stop(stop, app.log)
        try:
            await clean_up()
        finally:
            await _stop(stop, app.log)

    app.cleanup = stop_and_clean_up


async def _stop(stop: Callable[[], Awaitable[None]], log: Any) -> None:
    try:
        async with asyncio.timeout(_LAST_ANSWERS):
            await stop()
    except Exception:
        log.exception("The shepherd could not be stopped in order")


def _has_job(owner: str) -> bool:
    return any(s.place[0] == owner and not s.record.ended for s in registry)


def _internal_tls(app: Any) -> Any:
    """Return what the hub's own API is called with; None where internal TLS is off."""
    settings = app.tornado_application.settings
    names = ("internal_ssl_key", "internal_ssl_cert", "internal_ssl_ca")
    key, certificate, authority = (settings.get(name) for name in names)
    return make_ssl_context(key, certificate, cafile=authority)


async def _go_on(app: Any, session: Session) -> None:
    """Start the server whose job waits: it goes on with that job, or the job is removed."""
    try:
        async with asyncio.timeout(_PATIENCE):
            while (status := await _start(app, session)) in _BUSY:  # noqa: ASYNC110
                await asyncio.sleep(_AGAIN)
        if status < 300:
            return
        why = f"HTTP {status}"
    except Exception as error:  # one start that fails must not keep the others from going on
        why = repr(error)
    app.log.error("The start of %s cannot go on: %s", "/".join(session.place), why)
    session.stopping = True
    session.update(over=True)


async def _start(app: Any, session: Session) -> int:
    """Ask the hub, as the user, to start a server; return the HTTP status."""
    user, server = session.place
    owner = app.users[user]
    scopes = [f"{scope}!server={user}/{server}" for scope in ("servers", "read:servers")]
    token = owner.new_api_token(
        note="A start that goes on after the hub was restarted", expires_in=60, scopes=scopes
    )
    parts = ["servers", quote(server, safe="")] if server else ["server"]
    request = HTTPRequest(
        url_path_join(app.hub.api_url, "users", quote(user, safe=""), *parts),
        method="POST",
        headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
        body=json.dumps(owner.spawners[server].orm_spawner.user_options or {}),
        ssl_options=_internal_tls(app),
    )
    # Not tornado's default, which is curl where that is installed, without internal TLS.
    client = SimpleAsyncHTTPClient(force_instance=True)
    try:
        answer = await client.fetch(request, raise_error=False)
    finally:
        client.close()
    return int(answer.code)


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
