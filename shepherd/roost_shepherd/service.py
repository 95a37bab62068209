"""The hub's own tokens (client credentials): in memory only, for they are made at will."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost_shepherd.errors import ProviderBusy, ShepherdError, Transient
from roost_shepherd.expiry import backoff, good_for
from roost_shepherd.timing import stored

if TYPE_CHECKING:
    from roost_shepherd.provider import Provider
    from roost_shepherd.timing import Timing
    from roost_shepherd.vault.records import StoredToken, Want


@dataclass(slots=True)
class _Kept:
    token: StoredToken | None = None
    failures: int = 0
    next_try_at: float = 0.0
    error: ShepherdError | None = None


class ServiceTokens:
    """Tokens of the client itself, one for each audience and set of scopes.

    Parameters
    ----------
    provider
        Whom to ask.
    timing
        Clock and jitter.
    """

    def __init__(self, provider: Provider, timing: Timing) -> None:
        self._provider = provider
        self._timing = timing
        self._kept: dict[Want, _Kept] = {}
        self._turns: dict[Want, asyncio.Lock] = {}

    async def token(self, want: Want) -> StoredToken:
        """Return a token that is valid now, renewed at its deadline.

        A watcher asks every few seconds: while the provider is away it is asked only as often as
        the back-off allows, and the token that we have serves to its end.

        Raises
        ------
        Transient, Terminal
            If there is no valid token and none can be had.
        """
        async with self._turns.setdefault(want, asyncio.Lock()):
            kept = self._kept.setdefault(want, _Kept())
            now = self._timing.clock()
            token = kept.token
            if token is not None and good_for(
                now,
                issued_at=token.issued_at,
                renew_at=token.renew_at,
                expires_at=token.expires_at,
                min_valid=0.0,
            ):
                return token
            if now >= kept.next_try_at:
                await self._ask(want, kept)
            if kept.token is not None and kept.token.expires_at > self._timing.clock():
                return kept.token
            raise kept.error or ProviderBusy(
                f"{self._provider.issuer} has a problem at the moment.",
                detail="it gave a token that had already ended",
            )

    async def _ask(self, want: Want, kept: _Kept) -> None:
        try:
            answer = await self._provider.client_credentials(
                audience=want.audience, scopes=want.scopes
            )
        except ShepherdError as error:
            kept.failures += 1
            kept.error = error
            asked = error.retry_after if isinstance(error, Transient) else None
            kept.next_try_at = self._timing.clock() + backoff(
                kept.failures, jitter=self._timing.jitter(), retry_after=asked
            )
        else:
            kept.token = stored(answer, jitter=self._timing.jitter())
            kept.failures, kept.next_try_at, kept.error = 0, 0.0, None
