"""The handler of *stop*: the owner of a server is told who else has stopped it."""

from __future__ import annotations

from typing import Any

from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import url_path_join
from roost_spawner import last_end

_PATHS = (r"users/([^/]+)/server", r"users/([^/]+)/servers/([^/]*)")


class StopHandler(UserServerAPIHandler):  # type: ignore[misc]  # JupyterHub ships no types
    """JupyterHub's handler of starts and stops by its API: of people, of admins, of the culler."""

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]  # likewise
    async def delete(self, user_name: str, server_name: str = "") -> None:
        """Stop a server."""
        user, by = self.find_user(user_name), self.current_user
        spawner = None if user is None else user.spawners.get(server_name)
        if spawner is not None and hasattr(spawner, "stopped_by") and spawner.active:
            spawner.stopped_by = _sentence(user_name, by)
        await super().delete(user_name, server_name)


def _sentence(user_name: str, by: Any) -> str:
    service = not hasattr(by, "spawners")
    if not service and by.name == user_name:
        return ""
    return last_end.stopper(by.name, service=service)


def take_stops(app: Any) -> None:
    """Put the handler before JupyterHub's own.

    Parameters
    ----------
    app
        The running JupyterHub.
    """
    api = url_path_join(app.hub_prefix, "api")
    handlers = [(url_path_join(api, path), StopHandler) for path in _PATHS]
    app.tornado_application.add_handlers(r".*", handlers)
