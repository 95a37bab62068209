"""Whether others can get into a session by JupyterHub's server sharing.

Whoever may enter a shared server works in it as its owner, and can read what the owner can: its
access tokens too (JupyterHub's manual, "Sharing access to user servers").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyterhub import orm
from jupyterhub.scopes import get_scopes_for
from sqlalchemy import inspect

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOK = 30.0
"""Seconds within which a session that its owner can share learns that it is."""


def is_shared(orm_spawner: Any) -> bool:
    """Whether somebody else may enter a server, or holds a code that lets them."""
    database = inspect(orm_spawner).session
    if database is None:
        return False  # deleted meanwhile
    return any(
        not entry.expired and _lets_in(entry.scopes)
        for kind in (orm.Share, orm.ShareCode)
        for entry in database.query(kind).filter_by(spawner_id=orm_spawner.id)
    )


def may_be_shared(user: Any) -> bool:
    """Whether a user may share servers of their own.  JupyterHub allows it to nobody by default."""
    return any(scope.partition("!")[0] == "shares" for scope in get_scopes_for(user))


def _lets_in(scopes: Iterable[str]) -> bool:
    return any(not scope.startswith("read:") for scope in scopes)
