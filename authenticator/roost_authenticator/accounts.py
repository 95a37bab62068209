"""Whose account somebody gets: by the map file, by a claim, or by a function of the site's.

Whatever the source says, an account that is never given to anyone is refused here.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from roost_authenticator.errors import BadAccountHook, NotMapped, UnsafeAccount
from roost_authenticator.mapfile import MapFile, unsafe_account

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from roost_authenticator.claims import Identity

    Hook = Callable[[Identity, Mapping[str, Any]], Awaitable[str | None] | str | None]


class Accounts(Protocol):
    """One source of accounts."""

    async def account(self, person: Identity, claims: Mapping[str, Any]) -> str:
        """Return the account of this person.

        Raises
        ------
        LoginRefused
            If they have none, or one that nobody gets.
        AuthenticatorError
            If the source cannot be used now.
        """


@dataclass(frozen=True, slots=True)
class ByMapFile:
    """Accounts by the file that access point and broker read too."""

    file: MapFile

    async def account(self, person: Identity, claims: Mapping[str, Any]) -> str:  # noqa: ARG002
        """Return the account that the file says."""
        return self.file.account(person.issuer, person.subject)


@dataclass(frozen=True, slots=True)
class ByClaim:
    """Accounts by one claim, which people must not be able to choose."""

    claim: str

    async def account(self, person: Identity, claims: Mapping[str, Any]) -> str:
        """Return what the claim says, as it is."""
        return _checked(claims.get(self.claim), person, f"claim {self.claim}")


@dataclass(frozen=True, slots=True)
class ByHook:
    """Accounts by a function of the site's."""

    hook: Hook

    async def account(self, person: Identity, claims: Mapping[str, Any]) -> str:
        """Return what the function says."""
        try:
            answer = self.hook(person, claims)
            name = await answer if inspect.isawaitable(answer) else answer
        except Exception as error:
            raise BadAccountHook(
                "The list of accounts cannot be used right now.",
                detail=f"c.IAMOAuthenticator.account_hook raised {type(error).__name__}",
            ) from None
        return _checked(name, person, "account_hook")


def _checked(name: object, person: Identity, source: str) -> str:
    if name is None or name == "":
        raise NotMapped(
            f"No account here belongs to {person.issuer}, subject {person.subject}.",
            detail=f"{source} gives none",
        )
    if not isinstance(name, str):
        raise UnsafeAccount(
            f"The account of {person.issuer}, subject {person.subject}, cannot be used here: "
            "it is not text.",
            detail=source,
        )
    why = unsafe_account(name)
    if why:
        raise UnsafeAccount(
            f"The account of {person.issuer}, subject {person.subject}, cannot be used here: "
            f"{why}.",
            detail=source,
        )
    return name
