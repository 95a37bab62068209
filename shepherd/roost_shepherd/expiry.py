"""When a token must be renewed.  Pure: every time is absolute, in seconds since the epoch."""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Any

RENEW_AT = 2 / 3
"""Part of a token's life after which it is renewed: a third is left for a provider's outage."""

JITTER = 1 / 15
"""Part of the life by which renewals are spread out, always towards the earlier side."""

ASSUMED_LIFE = 300.0
"""Seconds that a token is taken to live when its provider does not say (RFC 6749, section 5.1)."""

_LONGEST_CLAIMS = 256 * 1024  # characters

_BACKOFF_FIRST = 1.0
_BACKOFF_MOST = 60.0
_RETRY_AFTER_MOST = 600.0
_ASKED_MOST = 3  # of the patience: half of what a token has left


def deadline(issued_at: float, expires_at: float, *, jitter: float = 0.0) -> float:
    """Return when a token should be renewed.

    Parameters
    ----------
    issued_at, expires_at
        The token's life.
    jitter
        From 0 to 1: how much of :data:`JITTER` to use.
    """
    life = max(0.0, expires_at - issued_at)
    return issued_at + life * (RENEW_AT - JITTER * jitter)


def good_for(
    now: float, *, issued_at: float, renew_at: float, expires_at: float, min_valid: float
) -> bool:
    """Tell whether a token can be handed out without a renewal.

    A caller who wants more than half of the token's whole life gets what a token can give: else
    each of their calls would cost a renewal, and none would satisfy them.
    """
    wanted = min(min_valid, (expires_at - issued_at) / 2)
    return now < renew_at and expires_at - now > wanted


def patience(now: float, *, issued_at: float, expires_at: float) -> float:
    """Return how many seconds a holder of this token can wait between two tries at most.

    A sixth of what is left, so that an outage shorter than the third that a renewal leaves does
    not outlast the token by our own waiting; of its whole life, once it has ended.
    """
    left = expires_at - now
    return max(1.0, (left if left > 0 else expires_at - issued_at) / 6)


def backoff(
    failures: int,
    *,
    jitter: float,
    retry_after: float | None = None,
    most: float | None = None,
) -> float:
    """Return how many seconds to leave a provider alone after ``failures`` failures in a row.

    Parameters
    ----------
    failures
        At least 1.
    jitter
        From 0 to 1; spreads callers over the second half of the wait.
    retry_after
        Seconds that the provider itself asked for; taken up to ten minutes.
    most
        Seconds that the wait may be at most, from :func:`patience`; three times that if the
        provider asked for more.  So half of what a token has left is given to a provider that wants
        its peace (RFC 9110, section 10.2.3), and never all of it.
    """
    wait = min(_BACKOFF_MOST, _BACKOFF_FIRST * 2.0 ** min(max(failures, 1) - 1, 10))
    wait *= 0.5 + 0.5 * jitter
    if most is not None:
        wait = min(wait, most)
    if retry_after is not None:
        asked = min(retry_after, _RETRY_AFTER_MOST)
        wait = max(wait, asked if most is None else min(asked, _ASKED_MOST * most))
    return wait


def jwt_expiry(token: str | None) -> float | None:
    """Read the ``exp`` of a JWT without verifying it, or ``None``.

    Good for planning only.  IAM's refresh tokens are unsigned JWTs that tell their own end.
    """
    exp = jwt_claims(token).get("exp")
    try:
        value = float(exp) if isinstance(exp, int | float) and not isinstance(exp, bool) else None
    except OverflowError:
        return None
    return value if value is not None and math.isfinite(value) and value > 0 else None


def jwt_claims(token: str | None) -> dict[str, Any]:
    """Read the claims of a JWT without verifying it; empty if it is none.

    Good for planning, and for finding what a token claims too much; never for trust.
    """
    try:
        payload = (token or "").split(".")[1]
        if len(payload) > _LONGEST_CLAIMS:
            return {}
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
