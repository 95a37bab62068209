"""Who uses which token: noted in the vault, and measured."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from roost_shepherd import metrics
from roost_shepherd.errors import ShepherdError
from roost_shepherd.health import too_late

if TYPE_CHECKING:
    import logging

    from roost_shepherd.threads import Threads
    from roost_shepherd.timing import Timing
    from roost_shepherd.vault.records import StoredToken, Want
    from roost_shepherd.vault.store import Vault

_GATHER = 1.0  # seconds in which notes are gathered for one transaction


class Uses:
    """The loop renews only what somebody took; here it is noted.

    Parameters
    ----------
    vault, threads
        Where it is noted.
    timing
        The clock.
    log
        Takes no token.
    """

    def __init__(
        self,
        vault: Vault,
        threads: Threads,
        timing: Timing,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._vault = vault
        self._threads = threads
        self._clock = timing.clock
        self._log = log
        self._marks: set[tuple[str, Want, float]] = set()
        self._marking: asyncio.Task[None] | None = None
        self._at_once = asyncio.Event()
        self.late_at: float | None = None
        """When a token was last handed out close to its end."""
        self.late_left = 0.0
        """How many seconds that one was still good for."""

    def note(self, owner: str, want: Want, token: StoredToken) -> None:
        """Note that somebody uses this token, and how good it was."""
        now = self._clock()
        left = token.expires_at - now
        metrics.seconds_left.observe(left)
        if too_late(left, token.expires_at - token.issued_at):
            self.late_at, self.late_left = now, left
        if token.taken:
            return
        # Beside the handing out, and many in one transaction: the disk is slow.
        self._marks.add((owner, want, token.issued_at))
        if self._marking is None:
            self._at_once.clear()
            self._marking = asyncio.create_task(self._mark())

    async def settle(self) -> None:
        """Wait until the vault knows of all that was noted; it is told at once."""
        self._at_once.set()
        while self._marking is not None:
            await asyncio.wait([self._marking])

    async def _mark(self) -> None:
        try:
            # Lost if the process is killed meanwhile; as below, that token is renewed when asked.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._at_once.wait(), _GATHER)
            while self._marks:
                marks, self._marks = self._marks, set()
                await self._threads.run(self._vault.mark_taken, marks)
        except ShepherdError as error:
            # Its holder comes again at its deadline, and then it is renewed all the same.
            self._log.warning("Could not note which tokens are in use: %s", error)
        finally:
            self._marking = None
