"""The handler of *Start*: a second click leads to the start that is under way.

In place of JupyterHub's own, which answers the second click with an error, and notes a choice that
is refused with a traceback.
"""

from __future__ import annotations

import sys
from typing import Any

from jupyterhub.handlers.pages import SpawnHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.spawner import SpawnException
from tornado import web


class _OneLine:
    """A log in which a refusal is one line; an error that was not foreseen keeps its traceback."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        """Return what the log has else."""
        return getattr(self._log, name)

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log an error."""
        refusal = sys.exception()
        if kwargs.get("exc_info") and isinstance(refusal, (web.HTTPError, SpawnException)):
            kwargs["exc_info"] = False
            said = getattr(refusal, "log_message", None) or refusal
            msg, args = f"{msg}: %s", (*args, " ".join(str(said).split())[:500])
        self._log.error(msg, *args, **kwargs)


class ClickHandler(SpawnHandler):  # type: ignore[misc]  # JupyterHub ships no types
    """The spawn page and its form."""

    @property
    def log(self) -> Any:
        """The hub's log."""
        return _OneLine(super().log)

    async def _wrap_spawn_single_user(self, *args: Any, **kwargs: Any) -> None:
        """Start a server, or go to the start that another click has begun."""
        user, (spawner, pending_url) = args[0], args[3:5]
        # JupyterHub does so within the second that it waits, and then leads to the page of a start
        # that has not begun: that page would say that the server does not run.
        if self.authenticator.refresh_pre_spawn and not spawner.active:
            await self._renew(user)
        if spawner.active:
            self.redirect(pending_url)
            return
        try:
            await super()._wrap_spawn_single_user(*args, **kwargs)
        except web.HTTPError as error:
            # The other click came while this one waited for the user's login to be renewed.
            if error.status_code != 500 or not spawner.active:
                raise
            self.redirect(pending_url)

    async def _renew(self, user: Any) -> None:
        """Renew a user's login, which JupyterHub does once in a request."""
        if await self.refresh_auth(user, force=True) is None:
            raise web.HTTPError(403, f"The login of {user.name} has ended: log in again.")

    @needs_scope("servers")  # type: ignore[untyped-decorator]  # likewise
    async def _post(self, user_name: str, server_name: str, display_name: str) -> None:
        """Start a server; of one that starts, runs or stops, go to the page that shows it."""
        mine = user_name == self.current_user.name
        user = self.current_user if mine else self.find_user(user_name)
        spawner = None if user is None else user.spawners.get(server_name)
        if spawner is not None and spawner.active:
            self.redirect(self._get_pending_url(user, server_name))
            return
        await super()._post(user_name=user_name, server_name=server_name, display_name=display_name)


HANDLERS = [
    (r"/spawn", ClickHandler),
    (r"/spawn/([^/]+)", ClickHandler),
    (r"/spawn/([^/]+)/([^/]+)", ClickHandler),
]
