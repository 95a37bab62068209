"""What a provider's refusal makes of a grant, and what a grant's state says to who asks.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost_shepherd.errors import (
    AccountSuspended,
    AupRequired,
    NeedsLogin,
    NoGrant,
    ProviderBusy,
    ShepherdError,
)
from roost_shepherd.vault.models import GrantState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roost_shepherd.vault.records import StoredGrant

STATES: Mapping[type[ShepherdError], GrantState] = {
    NeedsLogin: GrantState.NEEDS_LOGIN,
    AupRequired: GrantState.AUP_REQUIRED,
    AccountSuspended: GrantState.SUSPENDED,
}


def by_state(grant: StoredGrant) -> ShepherdError:
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
