"""Two kinds of token: the user's, which is verified, and Slurm's, which is minted.

A minted token is as good as the account for its minute.  It goes to slurmrestd on the loopback and
nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
from roost_shepherd.errors import TokenInvalid, Transient

from roost_spawner.clusters.slurm.broker.errors import ScopeMissing, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roost_shepherd.keys import TokenVerifier

SUBMIT = "compute.create"
READ = "compute.read"
CANCEL = "compute.cancel"
# WLCG Common JWT Profiles 1.2, section "Capability-based authorization": scopes of computing.

SLURM_TOKEN_LIFE = 60
"""Seconds: the time of one request, and no more."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose access token this is, and what it is good for."""

    issuer: str
    subject: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Refuse unless the token carries this scope.

        Raises
        ------
        ScopeMissing
            If it does not.
        """
        if scope not in self.scopes:
            raise ScopeMissing(scope)


def bearer(header: str | None) -> str:
    """Return the token in an ``Authorization`` header (RFC 6750, section 2.1).

    Raises
    ------
    Unauthenticated
        If there is none.
    """
    scheme, _, token = (header or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Show an access token: Authorization: Bearer <token>.", given=False)
    return token.strip()


async def identify(verifier: TokenVerifier, audience: str, token: str) -> Caller:
    """Verify an access token and say whose it is.

    Raises
    ------
    Unauthenticated
        If the token is not good here and now.
    Unavailable
        If the issuer's keys are needed and cannot be had.
    """
    try:
        claims = await verifier.verify(token, audience=audience)
    except TokenInvalid as error:
        raise Unauthenticated(error.sentence, detail=error.detail) from None
    except Transient as error:
        raise Unavailable(error.sentence, detail=error.detail) from None
    return caller_of(claims)


def caller_of(claims: Mapping[str, Any]) -> Caller:
    """Read verified claims; ``scope`` is one text with blanks (RFC 8693, section 4.2) or a list."""
    scope = claims.get("scope", "")
    words = scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else ()
    return Caller(
        issuer=str(claims["iss"]),
        subject=str(claims["sub"]),
        scopes=frozenset(word for word in words if isinstance(word, str)),
    )


def mint(account: str, key: bytes, *, now: float) -> str:
    """Return a token with which slurmctld takes the bearer for `account`.

    Slurm's jwt page: HS256, the claims ``sun`` (user name), ``iat`` and ``exp``.
    """
    issued = int(now)
    claims = {"sun": account, "iat": issued, "exp": issued + SLURM_TOKEN_LIFE}
    return jwt.encode(claims, key, algorithm="HS256")
