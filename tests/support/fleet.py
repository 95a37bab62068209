"""Sessions in every state at once, and what must be true of them once a fault is over."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.ground import HTCONDOR, SLURM
from tests.support.guest import Guest, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.demo.person import Person
    from tests.support.ground import Ground

OWNERS = {HTCONDOR: "alice", SLURM: "bob"}


@dataclass
class Fleet:
    """Sessions of alice on HTCondor and of bob on Slurm.

    Parameters
    ----------
    ground
        Where they are.
    people
        Who is logged in, by name.
    """

    ground: Ground
    people: dict[str, Person]
    guests: list[Guest] = field(default_factory=list)
    known: set[tuple[str, str]] = field(default_factory=set)
    """Jobs that were there before."""

    def guest(self, kind: str, server: str) -> Guest:
        """Return a guest of a kind; one that there is not yet is made."""
        for guest in self.guests:
            if (guest.kind, guest.server) == (kind, server):
                return guest
        guest = Guest(self.ground, self.people[OWNERS[kind]], server, kind)
        self.guests.append(guest)
        return guest

    async def begin(self) -> None:
        """Take note of what is there, to know what was submitted since."""
        for person in self.people.values():
            _, user = await person.api("GET", f"users/{person.name}?include_stopped_servers=1")
            for name in user["servers"]:
                kind = HTCONDOR if person.name == OWNERS[HTCONDOR] else SLURM
                await Guest(self.ground, person, name, kind).forget()
        self.known = {(job.kind, job.id) for job in await self.ground.jobs()}

    # -- into every state ----------------------------------------------------------------------

    async def into_every_state(self, *kinds: str) -> None:
        """Have a session queued, one starting, two running and one being stopped, on each."""
        await asyncio.gather(*(self._up(kind) for kind in kinds))
        await self.ground.close(*kinds)
        await asyncio.gather(*(self._queue(kind) for kind in kinds))
        await asyncio.gather(*(self._stop(kind) for kind in kinds))

    async def _up(self, kind: str) -> None:
        starting = self.guest(kind, "starting")
        self.ground.sign(starting.person.name, "starting", "wait").touch()
        running = [self.guest(kind, name) for name in ("running", "stopping", "late")]
        await asyncio.gather(*(guest.click() for guest in (starting, *running)))
        await asyncio.gather(starting.starting(), *(guest.ready() for guest in running))
        await running[0].remember()

    async def _queue(self, kind: str) -> None:
        await (await self.guest(kind, "queued").click()).queued()

    async def _stop(self, kind: str) -> None:
        # Its server does not hear that it is to end: the agent waits, then ends it.
        guest = self.guest(kind, "stopping")
        for pid in self.ground.server_pids(guest.person.name, guest.server):
            os.kill(pid, signal.SIGSTOP)
        await guest.ask_to_stop()

        async def noted() -> bool:
            record = self.ground.record(guest.person.name, guest.server)
            return bool(record.get("over") or record.get("left") or not record)

        await until(noted, f"{guest} is being stopped")

    # -- in the middle of it -------------------------------------------------------------------

    async def meanwhile(self, *kinds: str) -> None:
        """Click *start* and *stop* while the fault lasts."""
        await asyncio.gather(*(self.guest(kind, "").click() for kind in kinds))
        await asyncio.gather(*(self.guest(kind, "late").ask_to_stop() for kind in kinds))

    # -- and afterwards ------------------------------------------------------------------------

    async def come_through(self, *kinds: str, clicked: bool = True) -> None:
        """Assert that nothing is lost: every session is what its user wanted it to be.

        Parameters
        ----------
        *kinds
            Where the sessions are.
        clicked
            Whether somebody clicked *start* and *stop* while the fault lasted.
        """
        await self.ground.open(*kinds)
        for kind in kinds:
            self.guest(kind, "starting").release()
        checks = []
        for kind in kinds:
            checks += [
                self.guest(kind, "running").unharmed(),
                self.guest(kind, "starting").usable(),
                self.guest(kind, "queued").usable(),
                self.guest(kind, "stopping").gone(),
            ]
            if clicked:
                checks += [self.guest(kind, "late").gone(), self._settled(self.guest(kind, ""))]
        results = await asyncio.gather(*checks, return_exceptions=True)
        lost = [str(result) for result in results if isinstance(result, BaseException)]
        assert lost == [], "sessions lost that need not be:\n" + "\n".join(lost)

    @staticmethod
    async def _settled(guest: Guest) -> None:
        """Assert that a click during the fault led to a session, or to a sentence that says no."""

        async def decided() -> bool:
            model = await guest.model()
            return model == {} or bool((model or {}).get("ready"))

        await until(decided, f"{guest} is decided; its page said {guest.said}")
        if await guest.model() == {}:
            said = guest.refusal or (guest.said[-1] if guest.said else "")
            assert said, f"{guest} was refused without a word"

    async def end(self) -> None:
        """Stop everything, and assert that no job is left behind, nor was submitted twice."""
        await asyncio.gather(*(guest.ask_to_stop() for guest in self.guests))
        await asyncio.gather(*(guest.gone() for guest in self.guests))
        await self.nothing_left()

    async def nothing_left(self) -> None:
        """Assert that no job is left behind, and that none was submitted twice."""

        async def empty() -> bool:
            return await self.ground.left() == []

        left: list[object] = []
        try:
            await until(empty, "the queues are empty", 60)
        except AssertionError:
            left = list(await self.ground.left())
        assert left == [], f"jobs left behind: {left}"
        new = [job for job in await self.ground.jobs() if (job.kind, job.id) not in self.known]
        marks = collections.Counter(job.mark for job in new)
        twice = [job for job in new if marks[job.mark] > 1]
        assert twice == [], f"submitted twice: {twice}"

    async def close(self) -> None:
        """Leave nothing behind, whatever has failed."""
        for guest in self.guests:
            await guest.close_page()
            with contextlib.suppress(Exception):
                await guest.forget()
        await self.ground.clear()
        self.ground.strip(*self.people)


def page(fleet: Fleet, about: Callable[[Guest], bool] = lambda _: True) -> str:
    """Return all that the users of a fleet were told, for the reader of a failed test."""
    return "\n".join(
        f"{guest}: refused: {guest.refusal!r}; page: {guest.said}; {guest.seen}"
        for guest in fleet.guests
        if about(guest)
    )
