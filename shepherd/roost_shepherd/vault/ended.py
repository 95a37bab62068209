"""Grants that were given up here, until the provider knows of it too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from roost_shepherd.vault.models import GrantState
from roost_shepherd.vault.rows import HEALTHY, SAME, grants, ran, tokens
from roost_shepherd.vault.sealed import Sealed

if TYPE_CHECKING:
    from roost_shepherd.vault.records import StoredGrant


class Ended(Sealed):
    """Each method is one whole transaction."""

    def end_grant(self, owner: str) -> StoredGrant | None:
        """End a grant; its refresh token stays until the provider knows.  Returns the grant."""
        with self._write() as connection:
            row = self._row(connection, owner)
            if row is None:
                return None
            connection.execute(delete(tokens).where(tokens.c.grant_id == row.id))
            ended = {**HEALTHY, "state": GrantState.REVOKED.value, "updated_at": self._clock()}
            connection.execute(
                update(grants)
                .where(grants.c.id == row.id)
                .values(generation=grants.c.generation + 1, **ended)
            )
            row = self._row(connection, owner)
            return None if row is None else self._grant(row)

    def keep_to_revoke(
        self, owner: str, refresh_token: str, refresh_expires_at: float | None
    ) -> StoredGrant | None:
        """Keep what came back for an ended grant; ``None`` if it is not, or no more, ended."""
        ended = update(grants).where(
            grants.c.owner == owner, grants.c.state == GrantState.REVOKED.value
        )
        with self._write() as connection:
            found = connection.execute(
                ended.values(
                    refresh_token=self._seal_refresh(owner, refresh_token),
                    refresh_expires_at=refresh_expires_at,
                    generation=grants.c.generation + 1,
                )
            ).rowcount
            row = self._row(connection, owner)
            return self._grant(row) if found and row is not None else None

    def to_revoke(self, limit: int = 100) -> list[StoredGrant]:
        """Return ended grants of which the provider is to be told now."""
        query = (
            select(grants)
            .where(
                grants.c.state == GrantState.REVOKED.value,
                grants.c.refresh_token.is_not(None),
                grants.c.next_try_at <= self._clock(),
            )
            .order_by(grants.c.next_try_at)
            .limit(limit)
        )
        with self._read() as connection:
            return [self._grant(row) for row in connection.execute(query)]

    def put_revocation_off(self, grant: StoredGrant, next_try_at: float) -> None:
        """Note that the provider could not be told."""
        values = {"failures": grant.failures + 1, "next_try_at": next_try_at}
        with self._write() as connection:
            ran(connection, SAME, values, id=grant.id, generation=grant.generation)

    def forget_revoked(self, grant: StoredGrant) -> None:
        """Forget an ended grant's refresh token, unless there was a new login."""
        values = {"refresh_token": None, "refresh_expires_at": None}
        with self._write() as connection:
            ran(connection, SAME, values, id=grant.id, generation=grant.generation)
