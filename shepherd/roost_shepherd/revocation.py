"""Give up at the provider what was given up here (RFC 7009), however long it is away.

The vault keeps the refresh token of an ended grant until the provider knows; nothing else is done
with it.  A new login takes the grant's place, and with it that of the wish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost_shepherd.errors import ShepherdError
from roost_shepherd.expiry import backoff, jwt_expiry

if TYPE_CHECKING:
    import logging

    from roost_shepherd.provider import Provider
    from roost_shepherd.threads import Threads
    from roost_shepherd.timing import Timing
    from roost_shepherd.vault.records import StoredGrant
    from roost_shepherd.vault.store import Vault

_LOOK_EVERY = 10.0  # seconds between two looks for what is still to be revoked
_TRIES_MOST = 3000  # two days or more, for tokens that do not tell their end


class Revocations:
    """End grants here at once, and at the provider as soon as it answers.

    Parameters
    ----------
    vault, threads
        Where grants are kept, and where its synchronous calls run.
    provider
        Who is told.
    timing
        Clock and jitter.
    log
        Takes no token.
    """

    def __init__(
        self,
        vault: Vault,
        threads: Threads,
        provider: Provider,
        timing: Timing,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._vault = vault
        self._threads = threads
        self._provider = provider
        self._timing = timing
        self._log = log
        self._looked_at = float("-inf")

    async def end(self, owner: str) -> None:
        """End an owner's grant."""
        ended = await self._threads.run(self._vault.end_grant, owner)
        if ended is not None:
            await self._try(ended)

    async def came_back(self, owner: str, refresh_token: str) -> None:
        """Revoke what a provider gave for a grant that was ended while it was asked."""
        ended = await self._threads.run(
            self._vault.keep_to_revoke, owner, refresh_token, jwt_expiry(refresh_token)
        )
        if ended is not None:
            await self._try(ended)

    async def again(self) -> None:
        """Try what could not be done, now and then; who does not answer is not asked for more."""
        now = self._timing.clock()
        if 0 <= now - self._looked_at < _LOOK_EVERY:
            return
        self._looked_at = now
        for grant in await self._threads.read(self._vault.to_revoke):
            if not await self._try(grant):
                return

    async def _try(self, grant: StoredGrant) -> bool:
        """Ask once; ``False`` if it is to be asked again."""
        if grant.refresh_token is None:
            return True
        now = self._timing.clock()
        by_itself = grant.refresh_expires_at is not None and grant.refresh_expires_at <= now
        if not by_itself:
            try:
                done = await self._provider.revoke(grant.refresh_token)
            except ShepherdError as error:
                if grant.failures < _TRIES_MOST:
                    self._log.info("Cannot revoke the grant of %s yet: %s", grant.owner, error)
                    wait = backoff(
                        grant.failures + 1,
                        jitter=self._timing.jitter(),
                        retry_after=getattr(error, "retry_after", None),
                    )
                    await self._threads.run(self._vault.put_revocation_off, grant, now + wait)
                    return False
                done = False
            if not done:
                self._log.warning("The provider did not revoke the grant of %s", grant.owner)
        await self._threads.run(self._vault.forget_revoked, grant)
        return True
