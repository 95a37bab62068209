"""Renew what sessions use before anyone asks, round after round."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roost_shepherd import metrics
from roost_shepherd.errors import ShepherdError

if TYPE_CHECKING:
    import logging

    from roost_shepherd.breaker import Breaker
    from roost_shepherd.renewal import Renewals
    from roost_shepherd.threads import Threads
    from roost_shepherd.timing import Timing
    from roost_shepherd.vault.records import Due
    from roost_shepherd.vault.store import Vault

_LOOK_LEAST = 1.0  # what is due together costs less than one by one
_LOOK_MOST = 10.0
_SURVEY_EVERY = 10.0  # seconds between two counts of the grants
_PROBES = 5  # tokens that are tried for one probe: some are asked for elsewhere, or refused


class Loop:
    """The rounds of one process.

    Parameters
    ----------
    vault, threads, renewals, breaker
        What it works with.
    timing
        The clock.
    parallel
        Renewals at once.
    renews
        Whether it renews; if not it only counts, and another process renews.
    log
        Takes states and details, never a token.
    """

    def __init__(
        self,
        vault: Vault,
        threads: Threads,
        renewals: Renewals,
        breaker: Breaker,
        *,
        timing: Timing,
        parallel: int,
        renews: bool,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._vault = vault
        self._threads = threads
        self._renewals = renewals
        self._breaker = breaker
        self._clock = timing.clock
        self._gate = asyncio.Semaphore(parallel)
        self._renews = renews
        self._log = log
        self._away = False
        self._surveyed_at = float("-inf")
        self.beat_at: float | None = None
        """When it last began or finished anything."""
        self.failing_since: float | None = None
        """Since when the grant that waits longest could not be renewed."""

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            try:
                wait = await self.round()
            except Exception:
                self._log.exception("A round of renewals failed")
                wait = _LOOK_MOST
            await asyncio.sleep(wait)

    async def round(self) -> float:
        """Renew what is due; return how many seconds to wait."""
        self.beat_at = self._clock()
        wait = await self._renew_due() if self._renews else _LOOK_MOST
        await self._survey()
        if self._renews and self._breaker.since is None:
            await self._renewals.revocations.again()
        self.beat_at = self._clock()
        return wait

    async def _renew_due(self) -> float:
        await self._renewals.uses.settle()
        due = await self._threads.read(self._vault.in_use, before=self._clock())
        if self._breaker.since is not None and due:
            await self._probe(due)
        if self._breaker.since is None:
            if self._away:
                # What waits for its own next try need not: the provider is back.
                self._away = False
                await self._threads.run(self._vault.end_outage)
                due = await self._threads.read(self._vault.in_use, before=self._clock())
            await asyncio.gather(*(self._renew(item) for item in due))
        if self._breaker.since is not None:
            await self._note_outage()
            coming: float | None = self._breaker.next_probe_at
        else:
            coming = await self._threads.read(self._vault.next_due)
        wait = _LOOK_MOST if coming is None else coming - self._clock()
        return min(_LOOK_MOST, max(_LOOK_LEAST, wait))

    async def _probe(self, due: list[Due]) -> None:
        """Let one token find out whether the provider is back."""
        for item in due[:_PROBES]:
            until = self._breaker.next_probe_at
            if self._clock() < until:
                return
            await self._renew(item)
            if self._breaker.since is None or self._breaker.next_probe_at != until:
                return

    async def _renew(self, item: Due) -> None:
        async with self._gate:
            try:
                await self._renewals.renew(item.owner, item.want)
            except ShepherdError as error:
                # Its state and sentence are in the vault by now.
                self._log.debug("%s has no fresh token: %s", item.owner, error)
            except Exception:
                self._log.exception("The renewal of a token of %s failed", item.owner)
            self.beat_at = self._clock()

    async def _note_outage(self) -> None:
        """Tell all whose renewal is due, and who were not asked for, why it does not come."""
        since, sentence = self._breaker.since, self._breaker.sentence
        if since is None:
            return
        if not self._away:
            self._log.warning("The identity provider is left alone but for one probe: %s", sentence)
        self._away = True
        await self._threads.run(
            self._vault.note_outage, before=self._clock(), since=since, sentence=sentence
        )

    async def _survey(self) -> None:
        now = self._clock()
        metrics.left_alone.set(self._breaker.since is not None)
        if 0 <= now - self._surveyed_at < _SURVEY_EVERY:
            return
        self._surveyed_at = now
        counted, self.failing_since = await self._threads.read(self._vault.survey)
        metrics.show_grants(counted, self.failing_since, now)
