"""The hub's health, as far as tokens go: ``GET {hub}/api/roost/v1/health``.

For a monitor, which has no login: nothing there names a user or a provider.
"""

from __future__ import annotations

import json
from typing import Any

from jupyterhub.apihandlers import APIHandler
from tornado import web


class HealthHandler(APIHandler):  # type: ignore[misc]  # JupyterHub ships no types
    """200 while tokens are looked after, else 503, with the reasons."""

    def check_xsrf_cookie(self) -> None:
        """Ask for no XSRF token: nothing is changed here, and nothing is secret."""

    def prepare(self) -> None:
        """Ask for no login: a monitor has none, and must not wait for a user's refresh."""

    def get(self) -> None:
        """Answer."""
        shepherd: Any = getattr(self.authenticator, "shepherd", None)
        if shepherd is None:
            raise web.HTTPError(404, "This hub keeps no tokens.")
        health = shepherd.health()
        self.set_status(200 if health.good else 503)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(health.as_json()))


HANDLERS = [(r"/api/roost/v1/health", HealthHandler)]
