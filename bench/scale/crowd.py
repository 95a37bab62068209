"""Many servers at once: three people, each with as many named servers as it takes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from testbed.demo.person import Person

PATIENCE = 1800.0


class ServersFailed(Exception):
    """Servers that did not start.

    Parameters
    ----------
    side, lost
        Of which side, and how many.
    """

    def __init__(self, side: str, lost: int) -> None:
        super().__init__(f"{lost} servers of {side} failed")
        self.lost = lost


class Crowd:
    """Servers of one side of the measurement.

    Parameters
    ----------
    people
        Logged in.  More cannot be had: each job is its owner's own.
    side
        What the servers' names begin with: says which spawner they get.
    options
        What the spawn form is told.
    at_once
        Clicks that may be on their way at one time.
    """

    def __init__(
        self, people: Sequence[Person], side: str, options: dict[str, str], at_once: int
    ) -> None:
        self.people = people
        self.side = side
        self._options = options
        self._turns = asyncio.Semaphore(at_once)

    async def start(
        self, numbers: Sequence[int], say: Callable[[str], None], portion: int | None = None
    ) -> float:
        """Click them all at once, or in portions; return the seconds until all are ready.

        Raises
        ------
        ServersFailed
            If some have failed.
        TimeoutError
            If they are not ready in half an hour.
        """
        began = time.monotonic()
        step = portion or len(numbers)
        for first in range(0, len(numbers), step):
            clicked = numbers[first : first + step]
            await asyncio.gather(*(self._click(number) for number in clicked))
            await self._ready(first + len(clicked), began, say)
        return time.monotonic() - began

    async def _ready(self, wanted: int, began: float, say: Callable[[str], None]) -> None:
        """Wait until so many servers are ready."""
        told = began
        while True:
            servers = (await gauge(self.people[0]))["servers"]
            ready = servers.get("ready", 0)
            if ready >= wanted:
                return
            if not servers.get("pending"):
                raise ServersFailed(self.side, wanted - ready)
            now = time.monotonic()
            if now > began + PATIENCE:
                raise TimeoutError(f"{self.side}: {servers} after {PATIENCE:.0f} s")
            if now > told + 20:
                told = now
                say(f"{self.side}: {ready} of {wanted} after {now - began:.0f} s")
            await asyncio.sleep(0.5)

    async def _click(self, number: int) -> None:
        person, path = self._place(number)
        async with self._turns:
            status, answer = await person.api("POST", path, body=self._options)
        if status not in (201, 202):
            raise TimeoutError(f"{path}: the click was answered {status} {answer}")

    def _place(self, number: int) -> tuple[Person, str]:
        person = self.people[number % len(self.people)]
        return person, f"users/{person.name}/servers/{self.side}{number}"

    async def stop(self, numbers: Sequence[int]) -> None:
        """Stop and forget them all; return when the hub has none left."""
        await asyncio.gather(*(self._stop(number) for number in numbers))
        until = time.monotonic() + PATIENCE
        while (await gauge(self.people[0]))["servers"].get("active"):
            if time.monotonic() > until:
                raise TimeoutError(f"servers of {self.side} stay")
            await asyncio.sleep(0.5)

    async def _stop(self, number: int) -> None:
        person, path = self._place(number)
        async with self._turns:
            status, answer = await person.api("DELETE", path, body={"remove": True})
        if status not in (202, 204, 404):
            raise TimeoutError(f"{path}: the stop was answered {status} {answer}")


async def gauge(person: Person, *, reset: bool = False) -> Any:
    """Return what the hub's gauge shows; see ``gauge.py``."""
    status, answer = await person.api("GET", "bench?reset" if reset else "bench")
    if status != 200:
        raise TimeoutError(f"the gauge answered {status}")
    return answer
