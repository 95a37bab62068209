"""Clock, chance and lease of the renewals, and how they turn an answer into a stored token."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost_shepherd.expiry import deadline
from roost_shepherd.vault.records import StoredToken

if TYPE_CHECKING:
    from collections.abc import Callable

    from roost_shepherd.provider import TokenAnswer

LEASE = 45.0
"""Seconds that a lease holds: more than the longest renewal (two discovery and one token call of
ten seconds each, and a busy database's five)."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What a renewal needs to know of time; tests turn these.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    jitter
        A random number from 0 to 1.
    lease
        Seconds that a lease holds.
    """

    clock: Callable[[], float] = time.time
    jitter: Callable[[], float] = random.random
    lease: float = LEASE


def stored(answer: TokenAnswer, *, jitter: float = 0.0) -> StoredToken:
    """Give a provider's answer its deadline."""
    return StoredToken(
        value=answer.access_token,
        scopes=answer.scopes,
        issued_at=answer.issued_at,
        renew_at=deadline(answer.issued_at, answer.expires_at, jitter=jitter),
        expires_at=answer.expires_at,
        taken=False,
    )
