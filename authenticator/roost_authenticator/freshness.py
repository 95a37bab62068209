"""Who somebody is by now: claims fetched again, once for all who ask.

The shepherd has an access token for nothing but this, renewed at its own deadline and only if
somebody asks; with it the provider's userinfo endpoint is asked (OpenID Connect Core 1.0,
section 5.3).  So a user who uses the hub costs the provider two calls in a token's life.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roost_shepherd.errors import ShepherdError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

PATIENCE = 3.0
"""Seconds that a page waits for the provider; what comes later counts for the next page."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """What came of asking again.

    Attributes
    ----------
    model
        JupyterHub's model of the user as they are now, if that is known.
    refused
        Why they may not be here any more; ``None`` if they may, or if nothing is known.
    groups
        Those that somebody who is refused still has.
    """

    model: Mapping[str, Any] | None = None
    refused: str | None = None
    groups: tuple[str, ...] = ()


NOTHING = Fresh()


class Freshness:
    """Ask again about users, one call at a time for each.

    Parameters
    ----------
    ask
        Asks about one user; what it raises says nothing about them.
    log
        Takes names, never a token.
    """

    def __init__(
        self,
        ask: Callable[[str, Mapping[str, Any]], Awaitable[Fresh]],
        *,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger] | None = None,
    ) -> None:
        self._ask = ask
        self._log = log or logging.getLogger(__name__)
        self._tasks: dict[str, asyncio.Task[Fresh]] = {}
        self._late: dict[str, Fresh] = {}

    async def of(self, name: str, state: Mapping[str, Any]) -> Fresh:
        """Return what is known of this user by now; :data:`NOTHING` if that takes too long."""
        late = self._late.pop(name, None)
        if late is not None:
            return late
        task = self._tasks.get(name)
        if task is None:
            task = asyncio.create_task(self._one(name, state))
            self._tasks[name] = task
            task.add_done_callback(lambda _: self._tasks.pop(name, None))
        done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        if done:
            return NOTHING if task.cancelled() else task.result()
        task.add_done_callback(lambda done: self._keep(name, done))
        return NOTHING

    def drop(self, name: str) -> None:
        """Forget what came too late: the user has logged in again."""
        self._late.pop(name, None)

    async def close(self) -> None:
        """Give up what is being asked."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _keep(self, name: str, done: asyncio.Task[Fresh]) -> None:
        if not done.cancelled() and done.result() is not NOTHING:
            self._late[name] = done.result()

    async def _one(self, name: str, state: Mapping[str, Any]) -> Fresh:
        try:
            return await self._ask(name, state)
        except ShepherdError as error:
            self._log.info("Nothing new is known of %s: %s", name, error)
        except Exception:
            self._log.exception("Nothing new is known of %s", name)
        return NOTHING
