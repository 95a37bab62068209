"""Click to ready, one start after the other, the sides interleaved."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp

from testbed.demo.person import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.demo.person import Person, Ready


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
    up
        When (Unix time) the last server was up by its own account, for a hub that asks with pauses
        and so learns late.  Measured beside the rest, as ``<name>-up``.
    before
        Is called before each click, with the part of the rounds that is over.
    starts
        Filled with what each start said on its way, and the seconds until its first answer.
    """

    name: str
    person: Person
    profile: str
    gone: Callable[[], bool]
    rounds: int
    up: Callable[[], float] | None = None
    before: Callable[[float], None] | None = None
    starts: list[tuple[Ready, float]] = field(default_factory=list)


async def start_once(side: Side) -> dict[str, float]:
    """Start a server, stop it again, and return the seconds from click to first answer.

    The click is the spawn form being sent; the answer is the first one of the server itself, to a
    request that has come through the hub's proxy.

    Raises
    ------
    TimeoutError
        If it does not answer though the hub calls it ready, or its job stays.
    """
    ready = await side.person.start(side.profile)
    clicked = time.monotonic() - ready.seconds
    try:
        async with asyncio.timeout(30):
            while True:
                status, _ = await side.person.server_api("GET", "")
                if status == 200:
                    break
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise TimeoutError(f"{side.name}: ready, but no answer within 30 s") from None
    seconds = {side.name: time.monotonic() - clicked}
    side.starts.append((ready, seconds[side.name]))
    if side.up is not None:
        clicked_at = time.time() - (time.monotonic() - clicked)
        seconds[f"{side.name}-up"] = await asyncio.to_thread(side.up) - clicked_at
    await side.person.stop()
    await _until(side.gone, f"{side.name}: a job of this user did not leave the queue within 60 s")
    return seconds


async def _until(condition: Callable[[], bool], sentence: str, limit: float = 60) -> None:
    until = time.monotonic() + limit
    while not await asyncio.to_thread(condition):
        if time.monotonic() > until:
            raise TimeoutError(sentence)
        await asyncio.sleep(0.2)


async def interleaved(sides: list[Side], say: Callable[[str], None]) -> dict[str, list[float]]:
    """Start all sides round about, and return the seconds of each.

    Each round begins with another side, so that none always follows the same one.
    """
    runs: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(max(side.rounds for side in sides)):
        first = number % len(sides)
        for side in sides[first:] + sides[:first]:
            if number < side.rounds:
                if side.before is not None:
                    await asyncio.to_thread(side.before, (number + 0.5) / side.rounds)
                for name, seconds in (await start_once(side)).items():
                    runs.setdefault(name, []).append(seconds)
                    say(f"round {number + 1}: {name} {seconds:.2f} s")
    return runs


async def patiently(person: Person) -> None:
    """Log in at a hub that may still be coming up."""
    for _ in range(100):
        try:
            await person.login()
        except (aiohttp.ClientError, Refused):
            await asyncio.sleep(0.3)  # its hub is still coming up
        else:
            return
    await person.login()
