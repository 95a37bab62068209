"""Processes that end at one point of a renewal each: run by test_kill_everywhere.

Arguments: issuer, client id, client secret, vault URL.  Reads lines ``owner point`` and forks for
each: the child takes one token and ends, by ``os._exit``, when it comes to the point of that
number.  A point is where a coroutine of any task is left waiting, or goes on again: they are
counted as the event loop drives the coroutines, so that none can be forgotten.  Answers with the
child's exit status and the code's place.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Coroutine

DIED = 77

from roost_shepherd.shepherd import Shepherd  # noqa: E402
from roost_shepherd.timing import Timing  # noqa: E402


class Points:
    """Counts, and ends the process at the one that is looked for."""

    def __init__(self, fatal: int, said: int) -> None:
        self.fatal, self.said, self.seen = fatal, said, 0

    def at(self, what: str, coro: Coroutine) -> None:
        self.seen += 1
        if self.seen == self.fatal:
            frame = innermost(coro)
            os.write(self.said, f"{what} {frame}".encode())
            os._exit(DIED)


def innermost(coro) -> str:
    """Return where a coroutine stands."""
    place = ""
    while (frame := getattr(coro, "cr_frame", None)) is not None:
        place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_code.co_name}"  # noqa: PTH119
        coro = coro.cr_await
    return place


class Watched(Coroutine):
    """A coroutine whose every step is counted."""

    def __init__(self, coro, points: Points) -> None:
        self._coro, self._points = coro, points

    def send(self, value):
        self._points.at("goes on", self._coro)
        waits_for = self._coro.send(value)
        self._points.at("waits", self._coro)
        return waits_for

    def throw(self, *error):
        return self._coro.throw(*error)

    def close(self) -> None:
        self._coro.close()

    def __await__(self):
        return self._coro.__await__()


async def renew(arguments: list[str], owner: str, point: int, said: int) -> None:
    issuer, client_id, secret, url = arguments
    shepherd = Shepherd(
        issuer=issuer,
        client_id=client_id,
        client_secret=secret,
        vault_url=url,
        timing=Timing(lease=30.0),
    )
    shepherd.open()
    points = Points(point, said)
    loop = asyncio.get_running_loop()
    loop.set_task_factory(
        lambda loop, coro, **more: asyncio.Task(Watched(coro, points), loop=loop, **more)
    )
    take = shepherd.access_token(owner, audience="https://first", scopes=["compute.read"])
    await asyncio.ensure_future(take)
    await shepherd._renewals.drain()
    os._exit(0)


def main() -> None:
    for line in sys.stdin:
        owner, point = line.split()
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if not child:
                asyncio.run(renew(sys.argv[1:], owner, int(point), said.fileno()))
                os._exit(1)
            _, status = os.waitpid(child, 0)
            said.seek(0)
            place = said.read().decode()
        print(os.waitstatus_to_exitcode(status), place, flush=True)


main()
