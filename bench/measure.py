"""Click to ready, one start after the other, the sides interleaved."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from testbed.demo.person import Person


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that are compared.

    Attributes
    ----------
    person
        Logged in at this side's hub.
    profile
        What the spawn form is told.
    gone
        Whether nothing of the last start is left in the scheduler.
    rounds
        How often it starts.
    """

    name: str
    person: Person
    profile: str
    gone: Callable[[], bool]
    rounds: int


async def start_once(side: Side) -> float:
    """Start a server, stop it again, and return the seconds from click to first answer.

    The click is the spawn form being sent; the answer is the first one of the server itself, to a
    request that has come through the hub's proxy.
    """
    ready = await side.person.start(side.profile)
    clicked = time.monotonic() - ready.seconds
    while True:
        status, _ = await side.person.server_api("GET", "")
        if status == 200:
            break
        await asyncio.sleep(0.01)
    seconds = time.monotonic() - clicked
    await side.person.stop()
    await _until(side.gone)
    return seconds


async def _until(condition: Callable[[], bool], limit: float = 60) -> None:
    until = time.monotonic() + limit
    while not await asyncio.to_thread(condition):
        if time.monotonic() > until:
            raise TimeoutError("a job did not leave its queue")
        await asyncio.sleep(0.2)


async def interleaved(
    sides: list[Side], say: Callable[[str], Awaitable[None] | None]
) -> dict[str, list[float]]:
    """Start all sides round about, and return the seconds of each."""
    runs: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(max(side.rounds for side in sides)):
        for side in sides:
            if number < side.rounds:
                seconds = await start_once(side)
                runs[side.name].append(seconds)
                say(f"round {number + 1}: {side.name} {seconds:.2f} s")
    return runs
