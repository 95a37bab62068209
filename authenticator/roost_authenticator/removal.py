"""What happens to somebody who loses access while they are logged in."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from jupyterhub import roles

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOK, _PATIENCE = 1.0, 600.0  # seconds
_HARMLESS = frozenset(
    {
        *("access:servers", "users:activity", "read:users:activity"),
        *("read:users:name", "read:users:groups"),
    }
)


def _harmless(scope: str) -> bool:
    """Tell whether a scope lets one neither start nor manage anything.

    A site's own scopes (``custom:``) are services' to judge; the agents' is one.
    """
    base = scope.partition("!")[0]
    return base in _HARMLESS or base.startswith("custom:")


class Removal:
    """Take away what a login gave: groups, admin rights, API tokens and, if wanted, sessions.

    Parameters
    ----------
    log
        Takes names, never a token.
    """

    def __init__(
        self,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger] | None = None,
    ) -> None:
        self._log = log or logging.getLogger(__name__)
        self._stopping: dict[str, asyncio.Task[None]] = {}

    async def of(
        self, user: Any, handler: Any, *, why: str, stop: bool, groups: Iterable[str] = ()
    ) -> None:
        """Carry it out.  Twice is harmless.

        Parameters
        ----------
        user, handler
            JupyterHub's user, and the handler of the request that found out.
        why
            For the log.
        stop
            Whether their sessions are stopped.
        groups
            Those that the user still has.
        """
        tokens, left = self._powerful(user), sorted(groups)
        has = {group.name for group in user.orm_user.groups}
        active = [name for name, spawner in user.spawners.items() if spawner.active]
        if tokens or user.admin or has != set(left) or (stop and active):
            self._log.warning(
                "%s loses access: %s; %d sessions are %s",
                *(user.name, why, len(active), "stopped" if stop else "kept"),
            )
        user.sync_groups(left)
        if user.admin:
            user.admin = False
        roles.assign_default_roles(user.db, entity=user.orm_user)
        for token in tokens:
            user.db.delete(token)
        user.db.commit()
        if stop and active and handler is not None and user.name not in self._stopping:
            task = asyncio.create_task(self._stop_all(user, handler))
            self._stopping[user.name] = task
            task.add_done_callback(lambda _: self._stopping.pop(user.name, None))

    async def settle(self) -> None:
        """Wait until every stop that was begun has ended."""
        while self._stopping:
            await asyncio.wait(list(self._stopping.values()))

    def _powerful(self, user: Any) -> list[Any]:
        """Return the API tokens by which a program could go on as this user.

        Not among them: what a running server and the browsers that look at it hold; those reach
        that server only, and end with it.
        """
        return [
            token
            for token in user.orm_user.api_tokens
            if not all(_harmless(scope) for scope in token.scopes)
        ]

    async def _stop_all(self, user: Any, handler: Any) -> None:
        """Stop every server; one that is starting or stopping is waited for."""
        until = asyncio.get_running_loop().time() + _PATIENCE
        while asyncio.get_running_loop().time() < until:
            active = [name for name, spawner in user.spawners.items() if spawner.active]
            if not active:
                return
            for name in active:
                if user.spawners[name].pending:
                    continue
                try:
                    await handler.stop_single_user(user, name)
                except Exception:
                    self._log.exception("Could not stop %s:%s, who lost access", user.name, name)
            await asyncio.sleep(_LOOK)
        self._log.error("Sessions of %s, who lost access, still run", user.name)
