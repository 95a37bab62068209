"""The handler of *stop*: the owner of a server is told who else has stopped it."""

from __future__ import annotations

from typing import Any

from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.scopes import needs_scope
from roost_spawner import last_end


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


HANDLERS = [
    (r"/api/users/([^/]+)/server", StopHandler),
    (r"/api/users/([^/]+)/servers/([^/]*)", StopHandler),
]
