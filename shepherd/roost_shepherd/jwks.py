"""Read a key set (RFC 7517) and choose the key that may have made a signature.  Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jwt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ALGORITHMS: Mapping[str, str] = MappingProxyType({"RS256": "RSA", "PS256": "RSA", "ES256": "EC"})
"""Signature algorithms that are taken, each with the only key type that fits it.

An allow-list with the key type bound to it: a public key is never used as an HMAC secret
(RFC 8725, sections 2.1 and 3.1).
"""

_MIN_RSA_BITS = 2048  # RFC 7518, section 3.3


@dataclass(frozen=True, slots=True)
class Key:
    """One public signature key."""

    kid: str | None
    kty: str
    alg: str | None
    key: Any = field(repr=False)


def candidates(keys: Sequence[Key], alg: str, kid: str | None) -> list[Key]:
    """Return the keys that may have made this signature."""
    return [
        key
        for key in keys
        if key.kty == ALGORITHMS[alg] and key.alg in (None, alg) and (kid is None or key.kid == kid)
    ]


def parse_keys(document: Mapping[str, Any] | None) -> tuple[Key, ...]:
    """Return the usable signature keys of a key set; others are not ours to judge."""
    entries = document.get("keys") if document else None
    keys: list[Key] = []
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "d" in entry:
            continue
        kty = str(entry.get("kty"))
        if kty not in ALGORITHMS.values() or (kty == "EC" and entry.get("crv") != "P-256"):
            continue
        try:
            key = jwt.PyJWK(entry, algorithm="RS256" if kty == "RSA" else "ES256").key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        if kty == "RSA" and key.key_size < _MIN_RSA_BITS:
            continue
        kid, alg = entry.get("kid"), entry.get("alg")
        keys.append(
            Key(
                kid=kid if isinstance(kid, str) else None,
                kty=kty,
                alg=alg if isinstance(alg, str) else None,
                key=key,
            )
        )
    return tuple(keys)
