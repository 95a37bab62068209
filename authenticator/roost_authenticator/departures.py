"""Grants of people who left, given up when nothing of theirs needs them any more.

Who logs out while a session runs, or loses access, still has a job that must be ended with their
own token.  Their wish is kept in JupyterHub's ``auth_state``, so that it outlives a restart of the
hub; a new login takes it back.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from jupyterhub import orm
from roost_shepherd.errors import ShepherdError
from sqlalchemy import inspect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MARK = "leaving"
"""The name in ``auth_state`` under which the wish is kept."""

EVERY = 15.0
"""Seconds between two looks at those who are leaving."""


class Departures:
    """Those whose grants are given up as soon as that can be.

    Parameters
    ----------
    forget
        Gives one user's grant up, here and at the provider.
    needed
        Whether a session of theirs still needs it; when in doubt, yes.
    log
        Takes names, never a token.
    """

    def __init__(
        self,
        forget: Callable[[str], Awaitable[object]],
        needed: Callable[[str], bool],
        *,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger] | None = None,
    ) -> None:
        self._forget = forget
        self._needed = needed
        self._log = log or logging.getLogger(__name__)
        self._leaving: dict[str, Any] = {}  # JupyterHub's users by name

    def __contains__(self, name: str) -> bool:
        return name in self._leaving

    async def leave(self, user: Any) -> bool:
        """Give a user's grant up, at once or later; tell whether it is done."""
        self._leaving[user.name] = user
        if not self._needed(user.name):
            await self._give_up(user.name)
        if user.name in self._leaving:
            await self._mark(user)
        return user.name not in self._leaving

    def stay(self, name: str) -> None:
        """Take the wish back: the user has logged in again."""
        self._leaving.pop(name, None)

    async def round(self) -> None:
        """Give up what nothing needs any more."""
        for name in tuple(self._leaving):
            if not self._needed(name):
                await self._give_up(name)

    async def recall(self, app: Any) -> None:
        """Learn who was leaving when an earlier hub ended."""
        known = app.db.query(orm.User).filter(orm.User.encrypted_auth_state.is_not(None)).all()
        for orm_user in known:
            user = app.users[orm_user.id]
            state = await user.get_auth_state()
            if state and state.get(MARK):
                self._leaving[user.name] = user
        if self._leaving:
            self._log.info("%d users were leaving when the hub ended", len(self._leaving))

    async def run(self, app: Any) -> None:
        """Look again and again, from when the hub is up."""
        recalled = False
        while True:
            await asyncio.sleep(EVERY)
            try:
                if not recalled:
                    await self.recall(app)
                    recalled = True
                await self.round()
            except Exception:
                self._log.exception("Could not look after the grants of those who left")

    async def _give_up(self, name: str) -> None:
        user = self._leaving.get(name)
        if user is None:  # they came back meanwhile
            return
        try:
            await self._forget(name)
        except ShepherdError as error:
            self._log.warning("The grant of %s is given up later: %s", name, error)
            return
        self._log.info("Gave up the grant of %s, who left", name)
        if self._leaving.get(name) is user:
            del self._leaving[name]
            await self._mark(user)

    async def _mark(self, user: Any) -> None:
        """Keep the wish, or its end, where a restart finds it."""
        if not inspect(user.orm_user).persistent:  # an admin deleted them meanwhile
            return
        state = await user.get_auth_state()
        wish = user.name in self._leaving
        if state is None or bool(state.get(MARK)) is wish:
            return
        rest = {name: value for name, value in state.items() if name != MARK}
        await user.save_auth_state(rest | {MARK: True} if wish else rest)
