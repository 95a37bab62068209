"""The vault's tables.

Every secret column is bytes that :mod:`~roost_shepherd.vault.crypto` made; every time is absolute,
in seconds since the epoch.  A change here needs a new file in ``migrations/versions``; a test
compares the two.
"""

from __future__ import annotations

import enum

from sqlalchemy import ForeignKey, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class GrantState(enum.StrEnum):
    """Where a grant stands."""

    LIVE = "live"
    RETRYING = "retrying"
    """The provider does not answer; what we have goes on to serve."""
    NEEDS_LOGIN = "needs_login"
    AUP_REQUIRED = "aup_required"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    """Given up by us, at the user's wish."""
    NONE = "none"
    """Never stored: the state of a user without a grant."""


class Base(DeclarativeBase):
    """All tables of the vault."""


class MetaRow(Base):
    """Facts about the vault itself; ``canary:*`` tell whether the keys open it."""

    __tablename__ = "vault_meta"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)


class GrantRow(Base):
    """One user's grant: the refresh token, its state, and who may renew it now."""

    __tablename__ = "grants"

    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(255), unique=True)
    issuer: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    refresh_token: Mapped[bytes | None] = mapped_column(LargeBinary)
    refresh_expires_at: Mapped[float | None]
    scopes: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(32))
    generation: Mapped[int]
    """Grows with every new refresh token: a renewal that began with an older one cannot commit."""
    failures: Mapped[int]
    failing_since: Mapped[float | None]
    next_try_at: Mapped[float]
    last_error: Mapped[str] = mapped_column(Text)
    lease_holder: Mapped[str | None] = mapped_column(String(255))
    lease_until: Mapped[float]
    updated_at: Mapped[float]


class TokenRow(Base):
    """One access token of a grant, for one audience and one set of scopes."""

    __tablename__ = "access_tokens"
    __table_args__ = (UniqueConstraint("grant_id", "audience", "wanted_scopes"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    grant_id: Mapped[int] = mapped_column(ForeignKey("grants.id", ondelete="CASCADE"), index=True)
    audience: Mapped[str] = mapped_column(String(512))
    wanted_scopes: Mapped[str] = mapped_column(String(1024))
    """What was asked for, sorted: the key.  What was given may be less."""
    granted_scopes: Mapped[str] = mapped_column(Text)
    value: Mapped[bytes] = mapped_column(LargeBinary)
    issued_at: Mapped[float]
    renew_at: Mapped[float] = mapped_column(index=True)
    expires_at: Mapped[float]
    taken: Mapped[bool]
    """Whether anyone fetched this very token; the loop renews no token that nobody took."""
