"""What became of tries that failed, and what may be tried again now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost_shepherd.errors import NeedsLogin, ScopeRefused
from roost_shepherd.expiry import backoff
from roost_shepherd.keys import same_issuer
from roost_shepherd.scopes import lacking
from roost_shepherd.states import STATES, by_state
from roost_shepherd.vault.models import GrantState

if TYPE_CHECKING:
    import logging

    from roost_shepherd.errors import ShepherdError
    from roost_shepherd.threads import Threads
    from roost_shepherd.timing import Timing
    from roost_shepherd.vault.records import StoredGrant, Want
    from roost_shepherd.vault.store import Vault

_HUMAN_RETRY = 60.0  # seconds between two tries of a grant that waits for a human
_REFUSED_FOR = 60.0  # seconds that a refused audience or scope is not asked for again


class Failures:
    """Failures of a grant are in the vault, refusals of a scope in memory: the grant lives on.

    Parameters
    ----------
    vault, threads
        Where grants are kept.
    issuer
        Whose grants can be renewed.
    timing
        Clock and jitter.
    log
        Takes states and details, never a token.
    """

    def __init__(
        self,
        vault: Vault,
        threads: Threads,
        issuer: str,
        timing: Timing,
        log: logging.Logger | logging.LoggerAdapter[logging.Logger],
    ) -> None:
        self._vault = vault
        self._threads = threads
        self._issuer = issuer
        self._timing = timing
        self._log = log
        self._refused: dict[tuple[str, Want, int], tuple[float, ScopeRefused]] = {}

    def may_try(self, grant: StoredGrant, want: Want) -> None:
        """Raise instead of asking the provider what it has just refused, or cannot answer.

        Raises
        ------
        Transient, Terminal
            What was found the last time.
        """
        now = self._timing.clock()
        until, refusal = self._refused.get((grant.owner, want, grant.generation), (0.0, None))
        if refusal is not None and now < until:
            again = ScopeRefused(refusal.sentence, detail=refusal.detail)
            again.missing = refusal.missing
            raise again
        ended = grant.refresh_token is None or grant.state in (
            GrantState.NEEDS_LOGIN,
            GrantState.REVOKED,
        )
        if ended or now < grant.next_try_at:
            raise by_state(grant)
        if not same_issuer(grant.issuer, self._issuer):
            raise NeedsLogin(
                f"Your login is from {grant.issuer}, which this hub no longer uses; "
                "please log in again."
            )

    async def note(
        self, grant: StoredGrant, want: Want, error: ShepherdError, patience: float | None
    ) -> bool:
        """Write a failure down; ``False`` if it says nothing about the grant as it is now.

        Parameters
        ----------
        grant, want
            As they were when it was tried.
        error
            How it failed.
        patience
            Seconds to wait for the next try at most, three times that if the provider itself
            asked for more; a human is waited for longer.
        """
        now = self._timing.clock()
        if isinstance(error, ScopeRefused):
            error.missing = lacking(want.scopes, grant.scopes)  # the provider names none
            self._refused = {key: kept for key, kept in self._refused.items() if kept[0] > now}
            self._refused[grant.owner, want, grant.generation] = (now + _REFUSED_FOR, error)
            self._log.warning("No token of %s for %s: %s", grant.owner, want.audience, error)
            return True
        state = STATES.get(type(error), GrantState.RETRYING)
        if state is GrantState.RETRYING:
            wait = backoff(
                grant.failures + 1,
                jitter=self._timing.jitter(),
                retry_after=getattr(error, "retry_after", None),
                most=patience,
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
