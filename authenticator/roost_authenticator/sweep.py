"""A look at everybody who has a session, whether or not they or it say anything.

JupyterHub judges a login when its user's browser or server calls the hub.  A server that does not
(one stopped by SIGSTOP) would keep its session, and its agent its tokens, after its user is gone.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from jupyterhub.handlers import BaseHandler
from roost_shepherd import audit
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roost_authenticator.blocks import Block
    from roost_authenticator.standing import Standing

EVERY = 15.0
"""Seconds between two looks; the provider is asked when a user's claims are due, not at each."""


class Sweep:
    """Judge the logins of users with sessions again and again.

    Parameters
    ----------
    standing
        Judges a login.
    log
        Takes names, never a token.
    """

    def __init__(self, standing: Standing, *, log: Any) -> None:
        self._standing = standing
        self._log = log
        self._blocked: Mapping[str, Block] = {}

    async def run(self, app: Any) -> None:
        """Look from when the hub is up until it ends."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.round(app)
            except Exception:
                self._log.exception("Could not look whose logins still stand")

    async def round(self, app: Any) -> None:
        """Look once."""
        blocks = self._standing.blocks()
        for name in blocks.keys() - self._blocked.keys():
            audit.note("block", user=name, why=blocks[name].reason)
        for name in self._blocked.keys() - blocks.keys():
            audit.note("unblock", user=name)
        self._blocked = blocks
        handler = _handler(app)
        for user in [user for user in app.users.values() if user.active or user.name in blocks]:
            if user.name in blocks:
                user._auth_refreshed = None  # noqa: SLF001 - their next request is judged at once
            found = await self._standing.of(user, handler)
            if isinstance(found, dict):
                await handler.auth_to_user(found, user)


def _handler(app: Any) -> Any:
    """Return what JupyterHub judges logins and stops servers with, for no request of anybody's."""
    connection: Any = SimpleNamespace(set_close_callback=lambda _: None)
    line = RequestStartLine("GET", app.hub.base_url, "HTTP/1.1")
    request = HTTPServerRequest(
        start_line=line, headers=HTTPHeaders({"Host": "hub"}), connection=connection
    )
    return BaseHandler(app.tornado_application, request)
