"""Renew access tokens: once per need, whoever asks, and without losing a refresh token.

How one renewal goes, and why it can be cut off anywhere:

1. Callers of this process that want the same token share one task, which no caller's cancellation
   stops; tasks of one owner run one after the other, for they share one refresh token.
2. The task takes the grant's lease in the vault, so that no other process does the same, and
   reads the vault again: perhaps another was faster, or a new login came.
3. It asks the provider, and commits the answer in one transaction before anything else sees it.
   A refresh token that was replaced meanwhile (its generation grew) is not overwritten.
4. A refusal counts only if the grant in the vault is still the one that was refused.

Cut off between 3's question and its commit, a provider that rotates refresh tokens without grace
takes the old one for stolen; no client can prevent that (RFC 9700, section 4.14.2).  The grant
then ends as ``needs_login`` and says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from roost_shepherd.errors import (
    AccountSuspended,
    AupRequired,
    ClientRefused,
    NeedsLogin,
    NoGrant,
    ProviderBusy,
    RenewalBusy,
    ScopeRefused,
    ShepherdError,
    Transient,
    VaultUnusable,
)
from roost_shepherd.expiry import backoff, good_for, jwt_expiry
from roost_shepherd.keys import same_issuer
from roost_shepherd.timing import Timing, stored
from roost_shepherd.vault.models import GrantState

if TYPE_CHECKING:
    from roost_shepherd.provider import Provider, TokenAnswer
    from roost_shepherd.threads import Threads
    from roost_shepherd.vault.records import StoredGrant, StoredToken, Want
    from roost_shepherd.vault.store import Vault

_POLL = 0.1  # seconds between two looks at a lease that another process has
_STALE_LEAST = 5.0  # seconds: a token with less left is not handed out any more
_COMMIT_PAUSES = (0.2, 1.0, 3.0)  # seconds between tries to write an answer
_HUMAN_RETRY = 60.0  # seconds between two tries of a grant that waits for a human
_REFUSED_FOR = 60.0  # seconds that a refused audience or scope is not asked for again
_STATES: dict[type[ShepherdError], GrantState] = {
    NeedsLogin: GrantState.NEEDS_LOGIN,
    AupRequired: GrantState.AUP_REQUIRED,
    AccountSuspended: GrantState.SUSPENDED,
}


class Renewals:
    """Hand out access tokens from the vault, renewed when it is time.

    Parameters
    ----------
    vault, threads
        Where grants are kept, and where its synchronous calls run.
    provider
        Whom to ask.
    holder
        Names this process in leases; no other process may have the same.
    timing
        Clock, jitter and lease.
    log
        Takes states and details, never a token.
    """

    def __init__(
        self,
        vault: Vault,
        threads: Threads,
        provider: Provider,
        *,
        holder: str,
        timing: Timing | None = None,
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
        self._taken: dict[tuple[str, Want], float] = {}
        self._refused: dict[tuple[str, Want, int], tuple[float, ScopeRefused]] = {}

    async def token(
        self, owner: str, want: Want, *, min_valid: float = 0.0, take: bool = True
    ) -> StoredToken:
        """Return a token that is good for ``min_valid`` seconds, renewed if it is time.

        While the provider is away, a token that is still valid serves.

        Parameters
        ----------
        owner, want
            Whose token, for what.
        min_valid
            Seconds; see :func:`~.expiry.good_for`.
        take
            Whether somebody will use it: the loop renews only what somebody took.

        Raises
        ------
        Transient
            If there is no valid token and the provider cannot be asked now.
        Terminal
            If only a human can help.
        """
        grant, token = await self._threads.run(self._vault.look_up, owner, want)
        if token is None or not self._good(token, min_valid):
            try:
                token = await self._shared(owner, want, min_valid)
            except (Transient, ClientRefused):
                if token is None or token.expires_at - self._now() < _STALE_LEAST:
                    raise
        elif grant is not None and grant.state is GrantState.SUSPENDED:
            raise _by_state(grant)
        if take:
            await self._take(owner, want, token)
        return token

    async def drain(self) -> None:
        """Wait until every renewal that was begun has been committed."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def _take(self, owner: str, want: Want, token: StoredToken) -> None:
        """Note once for each token that somebody uses it."""
        if token.taken or self._taken.get((owner, want)) == token.issued_at:
            return
        self._taken[owner, want] = token.issued_at
        await self._threads.run(self._vault.mark_taken, owner, want, token.issued_at)

    # -- one at a time -----------------------------------------------------------------------

    async def _shared(self, owner: str, want: Want, min_valid: float) -> StoredToken:
        """Join the renewal that is under way, or begin one."""
        key = (owner, want)
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(self._in_turn(owner, want, min_valid))
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def _done(self, key: tuple[str, Want], task: asyncio.Task[StoredToken]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled():
            task.exception()  # looked at, even when every caller went away
        if not any(owner == key[0] for owner, _ in self._tasks):
            self._turns.pop(key[0], None)

    async def _in_turn(self, owner: str, want: Want, min_valid: float) -> StoredToken:
        async with self._turns.setdefault(owner, asyncio.Lock()):
            return await self._with_lease(owner, want, min_valid)

    async def _with_lease(self, owner: str, want: Want, min_valid: float) -> StoredToken:
        give_up = time.monotonic() + self._timing.lease + 5.0
        while True:
            grant, token = await self._threads.run(self._vault.look_up, owner, want)
            if token is not None and self._good(token, min_valid):
                return token
            if grant is None:
                raise NoGrant(f"Nothing is kept for {owner}; please log in again.")
            self._may_try(grant, want)
            # Discovery before the lease: it may be slow, and changes nothing.
            await self._discover(grant)
            lease = self._timing.lease
            if await self._threads.run(self._vault.take_lease, grant.id, self._holder, lease):
                try:
                    renewed = await self._once(owner, want, min_valid)
                finally:
                    await self._threads.run(self._vault.drop_lease, grant.id, self._holder)
                if renewed is not None:
                    return renewed
                continue
            if time.monotonic() > give_up:
                raise RenewalBusy(
                    "Your token is being renewed elsewhere; please try again in a minute.",
                    detail=f"lease of {owner}'s grant is held by another process",
                )
            await asyncio.sleep(_POLL * (0.5 + self._timing.jitter()))

    # -- the renewal itself ------------------------------------------------------------------

    async def _once(self, owner: str, want: Want, min_valid: float) -> StoredToken | None:
        """Renew under the lease; ``None`` if the grant changed meanwhile: look again."""
        grant, token = await self._threads.run(self._vault.look_up, owner, want)
        if token is not None and self._good(token, min_valid):
            return token
        if grant is None or grant.refresh_token is None:
            return None
        self._may_try(grant, want)
        try:
            answer = await self._provider.refresh(
                grant.refresh_token, audience=want.audience, scopes=want.scopes
            )
        except ShepherdError as error:
            if not await self._failed(grant, want, error):
                return None
            raise
        return await self._commit(grant, want, answer)

    async def _commit(
        self, grant: StoredGrant, want: Want, answer: TokenAnswer
    ) -> StoredToken | None:
        token = stored(answer, jitter=self._timing.jitter())
        if await self._write(grant, want, token, answer):
            self._log.debug("Renewed a token of %s for %s", grant.owner, want.audience)
            if missing := want.scopes - token.scopes:
                self._log.warning(
                    "%s did not give %s the scopes %s for %s",
                    self._provider.issuer,
                    grant.owner,
                    " ".join(sorted(missing)),
                    want.audience,
                )
            return token
        await self._drop_orphan(grant, answer)
        return None

    async def _write(
        self, grant: StoredGrant, want: Want, token: StoredToken, answer: TokenAnswer
    ) -> bool:
        """Commit, stubbornly: a rotated refresh token exists nowhere else."""
        for pause in (*_COMMIT_PAUSES, None):
            try:
                return await self._threads.run(
                    self._vault.commit_renewal,
                    grant,
                    want,
                    token,
                    refresh_token=answer.refresh_token,
                    refresh_expires_at=jwt_expiry(answer.refresh_token),
                )
            except VaultUnusable as error:
                if pause is None:
                    raise
                self._log.warning("Could not write a renewal of %s yet: %s", grant.owner, error)
                await asyncio.sleep(pause)
        raise AssertionError

    async def _drop_orphan(self, grant: StoredGrant, answer: TokenAnswer) -> None:
        """Revoke what came back for a grant that the user gave up meanwhile."""
        now = await self._threads.run(self._vault.grant, grant.owner)
        ended = now is None or now.state is GrantState.REVOKED
        if ended and answer.refresh_token is not None:
            try:
                await self._provider.revoke(answer.refresh_token)
            except ShepherdError as error:
                self._log.warning("Could not revoke a token of %s: %s", grant.owner, error)

    async def _failed(self, grant: StoredGrant, want: Want, error: ShepherdError) -> bool:
        """Write a failure down; ``False`` if it says nothing about the grant as it is now."""
        now = self._now()
        if isinstance(error, ScopeRefused):
            self._refused = {key: kept for key, kept in self._refused.items() if kept[0] > now}
            self._refused[grant.owner, want, grant.generation] = (now + _REFUSED_FOR, error)
            self._log.warning("No token of %s for %s: %s", grant.owner, want.audience, error)
            return True
        state = _STATES.get(type(error), GrantState.RETRYING)
        if state is GrantState.RETRYING:
            wait = backoff(
                grant.failures + 1,
                jitter=self._timing.jitter(),
                retry_after=getattr(error, "retry_after", None),
            )
        else:
            wait = _HUMAN_RETRY
        written = await self._threads.run(
            self._vault.commit_failure,
            grant,
            state=state,
            sentence=error.sentence,
            next_try_at=now + wait,
        )
        if written:
            self._log.warning("Grant of %s is %s: %s", grant.owner, state, error)
        return written

    # -- what may be tried -------------------------------------------------------------------

    def _may_try(self, grant: StoredGrant, want: Want) -> None:
        """Raise instead of asking the provider what it has just refused, or cannot answer."""
        now = self._now()
        until, refusal = self._refused.get((grant.owner, want, grant.generation), (0.0, None))
        if refusal is not None and now < until:
            raise ScopeRefused(refusal.sentence, detail=refusal.detail)
        ended = grant.refresh_token is None or grant.state in (
            GrantState.NEEDS_LOGIN,
            GrantState.REVOKED,
        )
        if ended or now < grant.next_try_at:
            raise _by_state(grant)
        if not same_issuer(grant.issuer, self._provider.issuer):
            raise NeedsLogin(
                f"Your login is from {grant.issuer}, which this hub no longer uses; "
                "please log in again."
            )

    async def _discover(self, grant: StoredGrant) -> None:
        try:
            await self._provider.verifier.metadata()
        except Transient as error:
            now = self._now()
            wait = backoff(
                grant.failures + 1, jitter=self._timing.jitter(), retry_after=error.retry_after
            )
            await self._threads.run(
                self._vault.commit_failure,
                grant,
                state=GrantState.RETRYING,
                sentence=error.sentence,
                next_try_at=now + wait,
            )
            raise

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


def _by_state(grant: StoredGrant) -> ShepherdError:
    """Return the error that a grant's state stands for."""
    sentence = grant.last_error
    match grant.state:
        case GrantState.AUP_REQUIRED:
            return AupRequired(sentence)
        case GrantState.SUSPENDED:
            return AccountSuspended(sentence)
        case GrantState.LIVE | GrantState.RETRYING:
            return ProviderBusy(
                sentence or f"{grant.issuer} has a problem at the moment.",
                detail="left alone until the next try",
            )
        case GrantState.REVOKED | GrantState.NONE:
            return NoGrant(f"Nothing is kept for {grant.owner}; please log in again.")
        case GrantState.NEEDS_LOGIN:
            return NeedsLogin(
                sentence or f"Your login at {grant.issuer} has ended; please log in again."
            )
