"""Rows with their secrets opened: what leaves the database for one caller."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from roost_shepherd.vault.crypto import grant_place, token_place
from roost_shepherd.vault.models import GrantState
from roost_shepherd.vault.records import StoredGrant, StoredToken
from roost_shepherd.vault.rows import Rows, grants

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine, Row

    from roost_shepherd.vault.crypto import Cipher
    from roost_shepherd.vault.records import Want


class Sealed(Rows):
    """What has an engine, and the keys to what is in it.

    Parameters
    ----------
    engine
        As :func:`~.database.open_vault` returns it.
    cipher
        Seals and opens the secrets.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self, engine: Engine, cipher: Cipher, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(engine, clock)
        self._cipher = cipher

    def _row(self, connection: Connection, owner: str) -> Row[Any] | None:
        return connection.execute(select(grants).where(grants.c.owner == owner)).first()

    def _grant(self, row: Row[Any]) -> StoredGrant:
        return StoredGrant(
            id=row.id,
            owner=row.owner,
            issuer=row.issuer,
            subject=row.subject,
            refresh_token=self._open_refresh(row),
            refresh_expires_at=row.refresh_expires_at,
            scopes=frozenset(row.scopes.split()),
            state=GrantState(row.state),
            generation=row.generation,
            failures=row.failures,
            failing_since=row.failing_since,
            next_try_at=row.next_try_at,
            last_error=row.last_error,
        )

    def _token(self, owner: str, want: Want, row: Row[Any]) -> StoredToken:
        return StoredToken(
            value=self._cipher.open(row.value, token_place(owner, want.audience, want.scope_key)),
            scopes=frozenset(row.granted_scopes.split()),
            issued_at=row.issued_at,
            renew_at=row.renew_at,
            expires_at=row.expires_at,
            taken=row.taken,
        )

    def _seal_refresh(self, owner: str, token: str | None) -> bytes | None:
        return None if token is None else self._cipher.seal(token, grant_place(owner))

    def _open_refresh(self, row: Row[Any]) -> str | None:
        if row.refresh_token is None:
            return None
        return self._cipher.open(row.refresh_token, grant_place(row.owner))
