"""``python -m bench.page.viewers``: people with the spawn page open, in a process of their own.

Reads from its standard input, a JSON document a line: first who they are and where the hub is, then
how many of them look for how long.  Answers each with one.  Nothing of it is an argument: it has
passwords.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from testbed.demo.person import Person
from testbed.names import find_the_named_testbed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

EVERY = 10.0
"""Seconds between two refreshes, and how far one may be off: as in the page's own script."""
JITTER = 0.1
STAY = (20.0, 60.0)
"""Seconds for which somebody looks at a page before they open it anew."""
LOGINS = 6
"""People who log in at one time."""
_URL = re.compile(r'const url = "(/hub/api/roost/v1/profiles/[^"]+)"')


@dataclass
class Seen:
    """What all viewers saw.

    Attributes
    ----------
    loads, refreshes
        Milliseconds, each from before the connection was opened until the last byte was there.
    unchanged
        Refreshes that were answered 304.
    failures
        Answers that were none.
    """

    loads: list[float] = field(default_factory=list)
    refreshes: list[float] = field(default_factory=list)
    unchanged: int = 0
    failures: list[str] = field(default_factory=list)


class Viewer(Person):
    """Somebody who looks at the spawn page."""

    async def look(self, until: float, seen: Seen) -> None:
        """Open the page and keep it open, and do so again, until a moment (monotonic)."""
        while time.monotonic() < until:
            url, etag = await self._open(seen), ""
            leaves = min(until, time.monotonic() + random.uniform(*STAY))
            while await _wait(random.uniform(1 - JITTER, 1 + JITTER) * EVERY, leaves):
                etag = await self._refresh(url, etag, seen)

    async def _open(self, seen: Seen) -> str:
        began = time.monotonic()
        async with self._http.get(self.hub + "hub/spawn") as response:
            page = await response.text()
        seen.loads.append(1000 * (time.monotonic() - began))
        found = _URL.search(page)
        if response.status != 200 or found is None:
            raise TimeoutError(f"no spawn page: {response.status} {response.url}")
        return self.hub + found[1].lstrip("/")

    async def _refresh(self, url: str, etag: str, seen: Seen) -> str:
        headers = {"Sec-Fetch-Site": "same-origin"} | ({"If-None-Match": etag} if etag else {})
        began = time.monotonic()
        async with self._http.get(url, headers=headers) as response:
            await response.read()
        seen.refreshes.append(1000 * (time.monotonic() - began))
        seen.unchanged += response.status == 304
        if response.status not in (200, 304):
            seen.failures.append(f"refresh: {response.status}")
        return response.headers.get("Etag", etag)


async def _wait(pause: float, leaves: float) -> bool:
    """Wait; whether they still look then."""
    await asyncio.sleep(min(pause, max(0.0, leaves - time.monotonic())))
    return time.monotonic() < leaves


async def _look(viewers: Sequence[Viewer], seconds: float) -> Seen:
    """Have people come one after the other, and look until the time is over."""
    seen = Seen()
    began = time.monotonic()

    async def come(viewer: Viewer) -> None:
        # All are there within the time that one of them stays.
        await asyncio.sleep(random.uniform(0, STAY[0]) if len(viewers) > 1 else 0)
        try:
            await viewer.look(began + seconds, seen)
        except Exception as error:  # one who fails is told, and the others look on
            seen.failures.append(repr(error))

    await asyncio.gather(*map(come, viewers))
    return seen


async def _log_in(viewers: Sequence[Viewer]) -> None:
    turns = asyncio.Semaphore(LOGINS)

    async def one(viewer: Viewer) -> None:
        async with turns:
            await viewer.login()

    await asyncio.gather(*map(one, viewers))


async def _serve() -> None:
    def line() -> Awaitable[str]:
        return asyncio.to_thread(sys.stdin.readline)

    def answer(what: Any) -> None:
        print(json.dumps(what), flush=True)

    who = json.loads(await line())
    viewers = [
        Viewer(name, password, hub=who["hub"], ca_file=who["ca_file"], keep_alive=False)
        for name, password in who["people"]
    ]
    try:
        await _log_in(viewers)
        answer({"logged_in": len(viewers)})
        while wish := await line():
            order = json.loads(wish)
            answer(vars(await _look(viewers[: order["viewers"]], order["seconds"])))
    finally:
        for viewer in viewers:
            await viewer.__aexit__(None, None, None)


if __name__ == "__main__":
    find_the_named_testbed()
    asyncio.run(_serve())
