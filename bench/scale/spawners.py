"""Spawners for the hub that is measured, by the name of the server.

In one process both sides meet the same hub, the same database and the same machine.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.spawner import Spawner
from roost_spawner.spawner import RoostSpawner
from traitlets import Integer

NOOP = "noop"
"""Names of servers that begin so are no-ops; all others are Roost's."""


class NoopSpawner(Spawner):  # type: ignore[misc]  # JupyterHub ships no types
    """Starts nothing: every server is one that runs already."""

    port_of_all = Integer(9999, config=True, help="Where that server listens, on loopback.")
    _runs = False

    async def start(self) -> tuple[str, int]:
        """Say where the server is."""
        self._runs = True
        return "127.0.0.1", self.port_of_all

    async def poll(self) -> int | None:
        """Say that it runs."""
        return None if self._runs else 0

    async def stop(self, now: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - JupyterHub's signature
        """Say that it does not run any more."""
        self._runs = False


class EitherSpawner(RoostSpawner):
    """Not a spawner itself: makes the one that the server's name asks for."""

    def __new__(cls, **options: Any) -> Any:
        """Return a spawner of the other classes."""
        name = options["orm_spawner"].name
        return (NoopSpawner if name.startswith(NOOP) else RoostSpawner)(**options)
