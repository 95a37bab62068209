"""Renew access tokens: once per need, whoever asks, and without losing a refresh token.

How one renewal goes, and why it can be cut off anywhere:

1. Callers of this process that want the same token share one task, which no caller's cancellation
   stops; tasks of one owner run one after the other, for they share one refresh token.
2. The task takes the grant's lease in the vault, so that no other process does the same, and in
   the same transaction reads the vault again: perhaps another was faster, or a new login came.
3. It asks the provider, and commits the answer in one transaction before anything else sees it.
   A refresh token that was replaced meanwhile (its generation grew) is not overwritten.
4. A database that is away gets the answer when it is back (:mod:`~roost_shepherd.kept`).  Until
   then the token is handed out from memory, and the lease stays in the vault: nobody asks anew.
5. A refusal counts only if the grant in the vault is still the one that was refused.

Cut off between 3's question and its commit, a provider that rotates refresh tokens without grace
takes the old one for stolen; no client can prevent that (RFC 9700, section 4.14.2).  The grant
then ends as ``needs_login`` and says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from roost_shepherd import metrics
from roost_shepherd.asking import Asking
from roost_shepherd.breaker import LeftAlone
from roost_shepherd.errors import (
    ClientRefused,
    NoGrant,
    RenewalBusy,
    ScopeRefused,
    ShepherdError,
    Transient,
    VaultError,
)
from roost_shepherd.expiry import good_for, patience
from roost_shepherd.failures import Failures
from roost_shepherd.kept import KeptAnswers
from roost_shepherd.revocation import Revocations
from roost_shepherd.states import by_state
from roost_shepherd.timing import Timing
from roost_shepherd.uses import Uses
from roost_shepherd.vault.models import GrantState
from roost_shepherd.vault.records import Want

if TYPE_CHECKING:
    from collections.abc import Callable

    from roost_shepherd.provider import Provider
    from roost_shepherd.spill import Spill
    from roost_shepherd.threads import Threads
    from roost_shepherd.vault.records import StoredGrant, StoredToken
    from roost_shepherd.vault.store import Vault

_WAIT_FOR_LEASE = 12.0  # seconds more than a lease: what an overdue holder is given
_POLL = 0.1  # seconds between two looks at a lease that another process has
_WAIT_FOR_VAULT = 5.0  # seconds for an answer that the vault does not have yet
_STALE_LEAST = 5.0  # seconds: a token with less left is not handed out any more
_NOT_EXCHANGED = frozenset({"offline_access"})  # IAM refuses it in an exchange


class Renewals:
    """Hand out access tokens from the vault, renewed when it is time.

    Parameters
    ----------
    vault, threads
        Where grants are kept, and where its synchronous calls run.
    provider
        Whom to ask.
    spill
        Where answers are kept that the vault could not be given.
    holder
        Names this process in leases; no other process may have the same.
    timing
        Clock, jitter and lease.
    exchange
        Whether narrowed tokens are got by exchange (RFC 8693) where the provider can.
    log
        Takes states and details, never a token.
    """

    def __init__(
        self,
        vault: Vault,
        threads: Threads,
        provider: Provider,
        spill: Spill,
        *,
        holder: str,
        timing: Timing | None = None,
        exchange: bool = False,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger] | None = None,
    ) -> None:
        self._vault = vault
        self._threads = threads
        self._provider = provider
        self._holder = holder
        self._timing = timing or Timing()
        self._log = log or logging.getLogger(__name__)
        self._tasks: dict[tuple[str, Want], asyncio.Task[StoredToken]] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self.uses = Uses(vault, threads, self._timing, self._log)
        self.revocations = Revocations(vault, threads, provider, self._timing, self._log)
        self._failures = Failures(vault, threads, provider.issuer, self._timing, self._log)
        self.kept = KeptAnswers(vault, threads, spill, self.revocations, self._log)
        self._asking = Asking(
            self.kept,
            provider,
            exchange=exchange,
            timing=self._timing,
            log=self._log,
        )

    async def token(
        self, owner: str, want: Want, *, min_valid: float = 0.0, take: bool = True
    ) -> StoredToken:
        """Return a token for somebody's use, good for ``min_valid`` seconds.

        It is renewed if it is time.  While the provider is away, one that is still valid serves.

        Parameters
        ----------
        owner, want
            Whose token, for what.
        min_valid
            Seconds; see :func:`~.expiry.good_for`.
        take
            Whether a session will use it: the loop renews only what somebody took.

        Raises
        ------
        Transient
            If there is no valid token and the provider cannot be asked now.
        Terminal
            If only a human can help.
        """
        kept = self.kept.token(owner, want, take=take)
        if kept is not None and self._good(kept, min_valid):
            return kept
        grant, token = await self._threads.read(self._vault.look_up, owner, want)
        if token is None or not self._good(token, min_valid):
            try:
                token = await self._shared(owner, want, min_valid)
            except (Transient, ClientRefused):
                if token is None or token.expires_at - self._now() < _STALE_LEAST:
                    raise
        elif grant is not None and grant.state is GrantState.SUSPENDED:
            raise by_state(grant)
        if take:
            self.uses.note(owner, want, token)
        return token

    async def renew(self, owner: str, want: Want) -> None:
        """Renew a token ahead of anybody's asking, unless another process is at it.

        Raises
        ------
        Transient, Terminal
            As :meth:`token`; it is in the vault by then.
        """
        await self._shared(owner, want, 0.0, patient=False)

    async def drain(self) -> None:
        """Wait until every renewal that was begun has been committed, or is kept."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        await self.uses.settle()

    # -- one at a time -----------------------------------------------------------------------

    async def _shared(
        self, owner: str, want: Want, min_valid: float, *, patient: bool = True
    ) -> StoredToken:
        """Join the renewal that is under way, or begin one."""
        key = (owner, want)
        while (task := self._tasks.get(key)) is not None:
            try:
                return await asyncio.shield(task)
            except RenewalBusy:
                # Perhaps of one that would not wait for another process.
                if not patient or self._tasks.get(key) is task:
                    raise
        task = asyncio.create_task(self._in_turn(owner, want, min_valid, patient=patient))
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def _done(self, key: tuple[str, Want], task: asyncio.Task[StoredToken]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            task.exception()  # looked at, even when every caller went away
        if not any(owner == key[0] for owner, _ in self._tasks):
            self._turns.pop(key[0], None)

    async def _in_turn(
        self, owner: str, want: Want, min_valid: float, *, patient: bool
    ) -> StoredToken:
        async with self._turns.setdefault(owner, asyncio.Lock()):
            subject = None
            if want.audience and self._asking.may_exchange:
                subject = await self._subject(owner, want, min_valid, patient=patient)
            return await self._with_lease(owner, want, min_valid, patient=patient, subject=subject)

    async def _subject(
        self, owner: str, want: Want, min_valid: float, *, patient: bool
    ) -> StoredToken | None:
        """Return the owner's own token, for no audience, that narrowed ones are exchanged for."""
        grant, token = await self._threads.read(self._vault.look_up, owner, want)
        if grant is None or (token is not None and self._good(token, min_valid)):
            return None
        self._failures.may_try(grant, want)
        breaker = self._provider.breaker
        if breaker.since is not None or not self._provider.verifier.known:
            return None  # first the refresh, which learns whether the provider is there
        if not await self._provider.can_exchange():
            return None
        own = Want("", grant.scopes - _NOT_EXCHANGED)
        try:
            return await self._with_lease(owner, own, 0.0, patient=patient)
        except ScopeRefused:
            return None

    async def _with_lease(
        self,
        owner: str,
        want: Want,
        min_valid: float,
        *,
        patient: bool,
        subject: StoredToken | None = None,
    ) -> StoredToken:
        def needed(grant: StoredGrant, token: StoredToken | None) -> bool:
            if token is not None and self._good(token, min_valid):
                return False
            self._failures.may_try(grant, want)
            return True

        give_up = time.monotonic() + (self._timing.lease + _WAIT_FOR_LEASE if patient else 0.0)
        while True:
            if (kept := await self._from_kept(owner, want, min_valid, patient=patient)) is not None:
                return kept
            await self._discover(owner, want, needed)
            begun = await self._threads.run(
                self._vault.begin_renewal,
                owner,
                want,
                holder=self._holder,
                seconds=self._timing.lease,
                needed=needed,
            )
            grant, token = begun.grant, begun.token
            if grant is None:
                raise NoGrant(f"Nothing is kept for {owner}; please log in again.")
            if begun.leased:
                renewed = await self._once(grant, want, token, subject)
                if renewed is not None:
                    return renewed
                continue
            if token is not None and self._good(token, min_valid):
                return token
            if begun.overdue:
                await self._look_for_answer(owner)
            await self._wait_for_lease(owner, give_up)

    async def _wait_for_lease(self, owner: str, give_up: float) -> None:
        if time.monotonic() >= give_up:
            raise RenewalBusy(
                "Your token is being renewed elsewhere; please try again in a minute.",
                detail=f"lease of {owner}'s grant is held by another process",
            )
        await asyncio.sleep(_POLL * (0.5 + self._timing.jitter()))

    async def _look_for_answer(self, owner: str) -> None:
        """Look whether a process that let its lease run out left its answer in a file."""
        self._log.warning(
            "A renewal of %s was begun by another process and has not ended in its time; "
            "the refresh token may be used up",
            owner,
        )
        await self.kept.take_up()

    async def _from_kept(
        self, owner: str, want: Want, min_valid: float, *, patient: bool
    ) -> StoredToken | None:
        """Wait for an answer that the vault does not have yet; return it if that is what is wanted.

        Raises
        ------
        RenewalBusy
            If the vault is not given it in time.  The refresh token in the vault is used up: to
            show it again would end the grant.
        """
        give_up = time.monotonic() + (_WAIT_FOR_VAULT if patient else 0.0)
        while self.kept.holds(owner):
            token = self.kept.token(owner, want)
            if token is not None and self._good(token, min_valid):
                return token
            if time.monotonic() >= give_up:
                raise RenewalBusy(
                    "Your token cannot be renewed at the moment; please try again in a minute.",
                    detail=f"the vault's database was not given the last answer for {owner} yet",
                )
            await asyncio.sleep(_POLL)
        return None

    # -- the renewal itself ------------------------------------------------------------------

    async def _once(
        self,
        grant: StoredGrant,
        want: Want,
        token: StoredToken | None,
        subject: StoredToken | None,
    ) -> StoredToken | None:
        """Renew under the lease; ``None`` if the grant changed meanwhile: look again.

        Whatever is committed gives the lease back; where nothing was, it is dropped here.
        """
        written = False
        try:
            renewed = await self._asking.ask(grant, want, subject, self._patience(token))
            written = renewed is not None
        except LeftAlone:
            raise
        except ShepherdError as error:
            metrics.count_renewal(error)
            if not isinstance(error, VaultError):
                if not await self._failures.note(grant, want, error, self._patience(token)):
                    return None
                written = not isinstance(error, ScopeRefused)  # that one is kept in memory
            raise
        else:
            if written:
                metrics.count_renewal()
            return renewed
        finally:
            if not written:
                await self._threads.run(self._vault.drop_lease, grant.id, self._holder)

    async def _discover(
        self,
        owner: str,
        want: Want,
        needed: Callable[[StoredGrant, StoredToken | None], bool],
    ) -> None:
        """Learn the provider's endpoints before the lease: it may be slow, and changes nothing."""
        breaker = self._provider.breaker
        if breaker.since is None and self._provider.verifier.known:
            return
        grant, token = await self._threads.read(self._vault.look_up, owner, want)
        if grant is None or not needed(grant, token):
            return
        breaker.hurry(self._patience(token))
        breaker.check()
        if self._provider.verifier.known:
            return
        try:
            with breaker.asking(self._patience(token)):
                await self._provider.verifier.metadata()
        except LeftAlone:
            raise
        except Transient as error:
            metrics.count_renewal(error)
            await self._failures.note(grant, want, error, self._patience(token))
            raise

    def _patience(self, token: StoredToken | None) -> float | None:
        if token is None:
            return None
        return patience(self._now(), issued_at=token.issued_at, expires_at=token.expires_at)

    def _good(self, token: StoredToken, min_valid: float) -> bool:
        return good_for(
            self._now(),
            issued_at=token.issued_at,
            renew_at=token.renew_at,
            expires_at=token.expires_at,
            min_valid=min_valid,
        )

    def _now(self) -> float:
        return self._timing.clock()
