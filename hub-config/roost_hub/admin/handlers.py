"""The admin page, and the same for programs.

::

    GET  {hub}/roost/admin           the page
    GET  {hub}/api/roost/v1/admin    what it shows, as JSON

For whoever has JupyterHub's scope ``admin-ui``, as for JupyterHub's own admin page; sessions are
listed one by one for those who may also read all servers (``read:servers``).
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from jupyterhub.handlers import BaseHandler
from jupyterhub.scopes import has_scope, needs_scope
from roost_shepherd import metrics
from roost_spawner.errors import RoostError
from roost_spawner.sessions import registry
from roost_spawner.starts import ledger
from tornado import web

from roost_hub.admin import words
from roost_hub.admin.report import report, token_report
from roost_hub.reader import Reader
from roost_hub.startup import ENGINE
from roost_hub.tokens import in_utc, machine_time

if TYPE_CHECKING:
    from roost_spawner.capacity import Sample
    from roost_spawner.engine import Engine

PATIENCE = 1.0
"""Seconds that a first look may wait for what clusters have free."""


class _Admin:
    """What the page and the API share: mixed into handlers of JupyterHub's."""

    async def report(self: Any) -> dict[str, Any]:
        """Return how everything stands, as far as the caller may know it."""
        engine: Engine | None = self.settings.get(ENGINE)
        if engine is None:
            raise web.HTTPError(503, "The hub has just started; ask again in a moment.")
        names = list(engine.site.clusters)
        samples = await asyncio.gather(*(_sample(engine, name) for name in names))
        shepherd = getattr(self.authenticator, "shepherd", None)
        health = None if shepherd is None else shepherd.health()
        tokens = token_report(health, metrics.counted(), metrics.outage_seconds())
        found = report(
            engine,
            registry,
            ledger,
            dict(zip(names, samples, strict=True)),
            tokens,
            now=time.time(),
        )
        if not has_scope("read:servers", self.parsed_scopes, db=self.db):
            found["sessions"]["listed"] = []
        return found


async def _sample(engine: Engine, name: str) -> Sample | None:
    try:
        return await engine.capacity(name).look(PATIENCE)
    except RoostError:
        return None


class AdminHandler(_Admin, BaseHandler):  # type: ignore[misc]  # JupyterHub ships no types
    """The page."""

    @web.authenticated
    @needs_scope("admin-ui")  # type: ignore[untyped-decorator]  # likewise
    async def get(self) -> None:
        """Answer."""
        self.set_header("Cache-Control", "no-store")
        html = await self.render_template(
            "roost_admin.html",
            report=await self.report(),
            words=words,
            may_open=self._may_open,
            in_utc=in_utc,
            machine_time=machine_time,
        )
        self.finish(html)

    def _may_open(self, session: dict[str, Any]) -> bool:
        """Return whether JupyterHub lets the caller into a session's server."""
        scope = f"access:servers!server={session['user']}/{session['server']}"
        return bool(has_scope(scope, self.parsed_scopes, db=self.db))


class AdminDataHandler(_Admin, Reader):
    """The same for programs."""

    @needs_scope("admin-ui")  # type: ignore[untyped-decorator]  # likewise
    async def get(self) -> None:
        """Answer."""
        self.set_header("Cache-Control", "no-store")
        self.write(json.dumps(await self.report()))


HANDLERS = [(r"/roost/admin", AdminHandler), (r"/api/roost/v1/admin", AdminDataHandler)]
