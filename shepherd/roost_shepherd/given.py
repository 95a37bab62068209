"""Whether a token is for no more than was asked for.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roost_shepherd.errors import TokenExceeds
from roost_shepherd.expiry import jwt_claims
from roost_shepherd.scopes import covers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roost_shepherd.vault.records import StoredToken, Want

_NAMED = 5  # of each kind; the provider decides how many there are
_LONGEST = 100  # characters of one; longer ones are no names, and could be secrets


def require_no_more(want: Want, token: StoredToken, issuer: str) -> None:
    """Compare a token with what was asked for, by the provider's answer and by its own claims.

    A token that is no JWT has nothing to compare but the answer's scopes, and one without ``aud``
    names no audience too many.  Where no scope was asked for, all are meant (RFC 6749, section 6),
    and where no audience was, the provider's own.

    Parameters
    ----------
    want
        What was asked for.
    token
        What was given, now or earlier.
    issuer
        Named in the sentence.

    Raises
    ------
    TokenExceeds
        If it is good for another audience, or for more scopes.
    """
    claims = jwt_claims(token.value)
    audiences: list[str] = []
    if want.audience:
        audiences = [one for one in _listed(claims.get("aud")) if one != want.audience]
    scopes: list[str] = []
    if want.scopes:
        given = token.scopes.union(_words(claims.get("scope")), _words(claims.get("scp")))
        scopes = [one for one in given if not any(covers(asked, one) for asked in want.scopes)]
    if not audiences and not scopes:
        return
    what = [
        f"{kind} {_named(names)}"
        for kind, names in (("the audience", audiences), ("the scope", scopes))
        if names
    ]
    raise TokenExceeds(
        f"{issuer} gave a token that is good for more than was asked for: {' and '.join(what)}. "
        "It is not handed out; please tell the hub's admin.",
        detail=f"asked for audience {want.audience or '(none)'}, scopes {want.scope_key}",
    )


def _listed(claim: Any) -> list[str]:
    return [str(one) for one in (claim if isinstance(claim, list) else [claim]) if one is not None]


def _words(claim: Any) -> list[str]:
    return [word for part in _listed(claim) for word in part.split()]


def _named(names: Iterable[str]) -> str:
    """Name what was found, in a form that a page and a log can show."""
    shown = sorted(
        {
            name if len(name) <= _LONGEST and name.isascii() and name.isprintable() else "(no name)"
            for name in names
        }
    )
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return ", ".join(shown[:_NAMED]) + more
