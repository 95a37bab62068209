"""One question to the provider, under the grant's lease, and its answer committed.

By exchange (RFC 8693) or by refresh; with fewer scopes if all of them are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost_shepherd.errors import ClientRefused, ScopeRefused, Terminal
from roost_shepherd.expiry import jwt_expiry
from roost_shepherd.scopes import lacking
from roost_shepherd.timing import stored
from roost_shepherd.vault.records import Answered

if TYPE_CHECKING:
    import logging

    from roost_shepherd.kept import KeptAnswers
    from roost_shepherd.provider import Provider, TokenAnswer
    from roost_shepherd.timing import Timing
    from roost_shepherd.vault.records import StoredGrant, StoredToken, Want

_NO_EXCHANGE_FOR = 600.0  # seconds that a client who may not exchange does not ask again


class Asking:
    """Ask a provider, and write down what it gives before anything else sees it.

    Parameters
    ----------
    kept
        Commits the answers.
    provider
        Whom to ask.
    exchange
        Whether narrowed tokens are got by exchange where the provider can.
    timing
        Clock and jitter.
    log
        Takes states and details, never a token.
    """

    def __init__(
        self,
        kept: KeptAnswers,
        provider: Provider,
        *,
        exchange: bool,
        timing: Timing,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._kept = kept
        self._provider = provider
        self._exchange = exchange
        self._timing = timing
        self._log = log
        self._no_exchange_until = 0.0

    @property
    def may_exchange(self) -> bool:
        """Whether an exchange is worth a try: it is wished, and was not refused of late."""
        return self._exchange and self._timing.clock() >= self._no_exchange_until

    async def ask(
        self,
        grant: StoredGrant,
        want: Want,
        subject: StoredToken | None,
        patience: float | None,
    ) -> StoredToken | None:
        """Ask for a token and commit it; ``None`` if the grant changed meanwhile.

        Parameters
        ----------
        grant, want
            By what, and for what.
        subject
            The owner's own token, to be exchanged; without one, or if that is refused, the refresh
            token is shown.
        patience
            As for :meth:`~.breaker.Breaker.asking`.

        Raises
        ------
        Transient, Terminal
            As :meth:`~.provider.Provider.refresh`.
        """
        if subject is not None:
            try:
                answer = await self._provider.exchange(
                    subject.value,
                    audience=want.audience,
                    scopes=want.scopes,
                    patience=patience,
                )
            except Terminal as error:
                # What it says of the grant, the refresh token will tell.
                self._log.info("No exchange for %s, but a refresh: %s", want.audience, error)
                if isinstance(error, ClientRefused):
                    self._no_exchange_until = self._timing.clock() + _NO_EXCHANGE_FOR
            else:
                return await self._commit(grant, want, answer)
        try:
            answer = await self._refresh(grant, want, want.scopes, patience)
        except ScopeRefused:
            # One scope too many costs all of them ("Up-scoping is not allowed", IAM 1.12, which
            # strips restricted scopes from a login without a word): what is left is asked for.
            had = want.scopes - set(lacking(want.scopes, grant.scopes))
            if not had or had == want.scopes:
                raise
            answer = await self._refresh(grant, want, had, patience)
        return await self._commit(grant, want, answer)

    async def _refresh(
        self, grant: StoredGrant, want: Want, scopes: frozenset[str], patience: float | None
    ) -> TokenAnswer:
        assert grant.refresh_token is not None  # Failures.may_try saw to it
        return await self._provider.refresh(
            grant.refresh_token,
            audience=want.audience,
            scopes=scopes,
            patience=patience,
        )

    async def _commit(
        self, grant: StoredGrant, want: Want, answer: TokenAnswer
    ) -> StoredToken | None:
        token = stored(answer, jitter=self._timing.jitter())
        answered = Answered(
            grant, want, token, answer.refresh_token, jwt_expiry(answer.refresh_token)
        )
        if await self._kept.commit(answered):
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
        return None
