"""What a hub that was restarted takes up: every session that the database knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyterhub import orm

from roost_spawner.sessions import registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session as Database

_DONE = "roost_recovered"


def recover(settings: dict[str, Any], database: Database) -> int:
    """Take up all sessions, once in the life of a hub; return how many there are.

    JupyterHub itself loads only the servers that it takes for running.

    Parameters
    ----------
    settings
        Of the hub's web application: it has the users.
    database
        The hub's.
    """
    if not settings.get(_DONE):
        settings[_DONE] = True
        users: Mapping[Any, Any] = settings["users"]
        for spawner in database.query(orm.Spawner):
            if (spawner.state or {}).get("sessions"):
                users[spawner.user].spawners[spawner.name]  # loads its state
    return len(list(registry))


def recovered(settings: Mapping[str, Any]) -> bool:
    """Whether :func:`recover` has run."""
    return bool(settings.get(_DONE))
