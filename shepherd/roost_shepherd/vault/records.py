"""What the vault hands out: frozen records, secrets without a repr."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roost_shepherd.vault.models import GrantState


@dataclass(frozen=True, slots=True)
class Want:
    """Which access token: for whom it is meant and what it may do."""

    audience: str
    scopes: frozenset[str]

    @property
    def scope_key(self) -> str:
        """The scopes in a fixed order."""
        return " ".join(sorted(self.scopes))


@dataclass(frozen=True, slots=True)
class StoredToken:
    """An access token as the vault has it."""

    value: str = field(repr=False)
    scopes: frozenset[str]
    issued_at: float
    renew_at: float
    expires_at: float
    taken: bool


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """A grant as the vault has it."""

    id: int
    owner: str
    issuer: str
    subject: str
    refresh_token: str | None = field(repr=False)
    refresh_expires_at: float | None
    scopes: frozenset[str]
    state: GrantState
    generation: int
    failures: int
    failing_since: float | None
    next_try_at: float
    last_error: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What a provider gave for a grant, to be committed."""

    grant: StoredGrant
    """As it was when it was asked for."""
    want: Want
    token: StoredToken
    refresh_token: str | None = field(repr=False)
    refresh_expires_at: float | None


@dataclass(frozen=True, slots=True)
class Begun:
    """What the beginning of a renewal found."""

    grant: StoredGrant | None
    token: StoredToken | None
    leased: bool
    """Whether the grant is now this process's to renew."""
    overdue: bool = False
    """Whether another process had the lease beyond its end, and was given more time just now."""


@dataclass(frozen=True, slots=True)
class Due:
    """A token whose time has come."""

    owner: str
    want: Want
    renew_at: float
