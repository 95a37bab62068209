"""What only the hub itself can tell: stalls of its event loop, and what it asked schedulers."""

from __future__ import annotations

import asyncio
import collections
import time
from typing import Any

from jupyterhub.handlers.base import BaseHandler

TICK = 0.005
"""Seconds between looks at the clock; no stall below that is seen."""


class Gauge:
    """Counts what happens in this process."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.asked: collections.Counter[str] = collections.Counter()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look at the clock from now on."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._tick())

    async def _tick(self) -> None:
        while True:
            slept_at = time.monotonic()
            await asyncio.sleep(TICK)
            self.longest = max(self.longest, time.monotonic() - slept_at - TICK)

    def count(self, owner: Any, method: str, label: str) -> None:
        """Have every call of a coroutine method counted, as `label` and its first argument."""
        usual = getattr(owner, method)

        async def counted(this: Any, *arguments: Any, **options: Any) -> Any:
            self.asked[f"{label} {arguments[0]}" if arguments else label] += 1
            return await usual(this, *arguments, **options)

        setattr(owner, method, counted)


GAUGE = Gauge()


class GaugeHandler(BaseHandler):  # type: ignore[misc]  # JupyterHub ships no types
    """``/hub/api/bench``: the gauge, and how many servers there are; ``?reset`` resets it."""

    def get(self) -> None:
        """Answer."""
        GAUGE.begin()
        if "reset" in self.request.arguments:
            GAUGE.longest = 0.0
        counts = self.users.count_active_users()
        self.finish({"stall_s": GAUGE.longest, "asked": dict(GAUGE.asked), "servers": dict(counts)})
