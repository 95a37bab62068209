"""What can be done with the vault.  Synchronous: each method is one whole transaction.

Nothing here knows the provider; nothing leaves here but decrypted values for one caller.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CursorResult, and_, delete, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from roost_shepherd.vault.database import open_vault, unusable, write_engine
from roost_shepherd.vault.models import GrantRow, GrantState, TokenRow
from roost_shepherd.vault.records import Due, StoredGrant, StoredToken, Want

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from roost_shepherd.vault.crypto import Cipher


class Vault:
    """Grants and access tokens, encrypted.

    Parameters
    ----------
    url
        SQLAlchemy URL of a SQLite file or a PostgreSQL database.
    cipher
        Seals and opens the secrets.
    clock
        Seconds since the epoch.

    Raises
    ------
    VaultError
        As :func:`~.database.open_vault`.
    """

    def __init__(self, url: str, cipher: Cipher, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = open_vault(url, cipher)
        self._writer = write_engine(self._engine)
        self._cipher = cipher
        self._clock = clock

    def close(self) -> None:
        """Give the database back."""
        self._engine.dispose()

    # -- grants ------------------------------------------------------------------------------

    def put_grant(
        self,
        owner: str,
        *,
        issuer: str,
        subject: str,
        refresh_token: str | None,
        refresh_expires_at: float | None,
        scopes: Iterable[str],
    ) -> None:
        """Begin a grant, or put a new login in the place of the old one and of its tokens."""
        values: dict[str, Any] = {
            "issuer": issuer,
            "subject": subject,
            "refresh_token": self._seal_refresh(owner, refresh_token),
            "refresh_expires_at": refresh_expires_at,
            "scopes": " ".join(sorted(scopes)),
            "state": (GrantState.LIVE if refresh_token else GrantState.NEEDS_LOGIN).value,
            "failures": 0,
            "failing_since": None,
            "next_try_at": 0.0,
            "last_error": "",
            "lease_holder": None,
            "lease_until": 0.0,
            "updated_at": self._clock(),
        }
        try:
            self._put(owner, values)
        except IntegrityError:
            # Two first logins of one user at once: the second now finds the first one's row.
            self._put(owner, values)

    def grant(self, owner: str) -> StoredGrant | None:
        """Return a grant with its refresh token, or ``None``."""
        with self._read() as session:
            row = self._row(session, owner)
            return None if row is None else self._grant(row)

    def end_grant(self, owner: str) -> str | None:
        """Forget a grant's secrets; return the refresh token that is now to be revoked."""
        with self._write() as session:
            row = self._row(session, owner)
            if row is None:
                return None
            token = self._open_refresh(row)
            session.execute(delete(TokenRow).where(TokenRow.grant_id == row.id))
            session.execute(
                update(GrantRow)
                .where(GrantRow.id == row.id)
                .values(
                    refresh_token=None,
                    state=GrantState.REVOKED.value,
                    generation=GrantRow.generation + 1,
                    last_error="",
                    lease_holder=None,
                    lease_until=0.0,
                    updated_at=self._clock(),
                )
            )
            return token

    # -- leases ------------------------------------------------------------------------------

    def take_lease(self, grant_id: int, holder: str, seconds: float) -> bool:
        """Try to become the only one, of all processes, that may renew this grant."""
        now = self._clock()
        with self._write() as session:
            changed = _changed(
                session,
                update(GrantRow)
                .where(
                    GrantRow.id == grant_id,
                    or_(
                        GrantRow.lease_holder.is_(None),
                        GrantRow.lease_holder == holder,
                        GrantRow.lease_until <= now,
                    ),
                )
                .values(lease_holder=holder, lease_until=now + seconds),
            )
        return changed == 1

    def drop_lease(self, grant_id: int, holder: str) -> None:
        """Give the lease back, if it is still ours."""
        with self._write() as session:
            session.execute(
                update(GrantRow)
                .where(GrantRow.id == grant_id, GrantRow.lease_holder == holder)
                .values(lease_holder=None, lease_until=0.0)
            )

    # -- what a renewal leaves ---------------------------------------------------------------

    def commit_renewal(
        self,
        grant: StoredGrant,
        want: Want,
        token: StoredToken,
        *,
        refresh_token: str | None,
        refresh_expires_at: float | None,
    ) -> bool:
        """Write a provider's answer, all of it or nothing.

        Returns
        -------
        bool
            ``False`` if the grant was replaced or ended since it was read: then nothing is written.
        """
        values: dict[str, Any] = {
            "state": GrantState.LIVE.value,
            "failures": 0,
            "failing_since": None,
            "next_try_at": 0.0,
            "last_error": "",
            "lease_holder": None,
            "lease_until": 0.0,
            "updated_at": self._clock(),
        }
        if refresh_token is not None and refresh_token != grant.refresh_token:
            values |= {
                "refresh_token": self._seal_refresh(grant.owner, refresh_token),
                "refresh_expires_at": refresh_expires_at,
                "generation": grant.generation + 1,
            }
        with self._write() as session:
            if not _changed(session, _same(grant).values(**values)):
                return False
            row = session.scalar(
                select(TokenRow).where(
                    TokenRow.grant_id == grant.id,
                    TokenRow.audience == want.audience,
                    TokenRow.wanted_scopes == want.scope_key,
                )
            )
            if row is None:
                row = TokenRow(
                    grant_id=grant.id, audience=want.audience, wanted_scopes=want.scope_key
                )
                session.add(row)
            row.granted_scopes = " ".join(sorted(token.scopes))
            row.value = self._cipher.seal(token.value, _token_place(grant.owner, want))
            row.issued_at = token.issued_at
            row.renew_at = token.renew_at
            row.expires_at = token.expires_at
            row.taken = token.taken
        return True

    def commit_failure(
        self,
        grant: StoredGrant,
        *,
        state: GrantState,
        sentence: str,
        next_try_at: float,
    ) -> bool:
        """Write down that a renewal failed; ``False`` if the grant is another by now."""
        with self._write() as session:
            return bool(
                _changed(
                    session,
                    _same(grant).values(
                        state=state.value,
                        failures=GrantRow.failures + 1,
                        failing_since=grant.failing_since or self._clock(),
                        next_try_at=next_try_at,
                        last_error=sentence,
                        lease_holder=None,
                        lease_until=0.0,
                        updated_at=self._clock(),
                    ),
                )
            )

    # -- access tokens -----------------------------------------------------------------------

    def look_up(self, owner: str, want: Want) -> tuple[StoredGrant | None, StoredToken | None]:
        """Return a grant and its access token for ``want``, in one read."""
        with self._read() as session:
            row = self._row(session, owner)
            if row is None:
                return None, None
            found = session.scalar(
                select(TokenRow).where(
                    TokenRow.grant_id == row.id,
                    TokenRow.audience == want.audience,
                    TokenRow.wanted_scopes == want.scope_key,
                )
            )
            return self._grant(row), None if found is None else self._token(owner, want, found)

    def mark_taken(self, owner: str, want: Want, issued_at: float) -> None:
        """Note that somebody uses this very token, so that the loop renews it."""
        with self._write() as session:
            session.execute(
                update(TokenRow)
                .where(
                    TokenRow.grant_id.in_(select(GrantRow.id).where(GrantRow.owner == owner)),
                    TokenRow.audience == want.audience,
                    TokenRow.wanted_scopes == want.scope_key,
                    TokenRow.issued_at == issued_at,
                    TokenRow.taken.is_(False),
                )
                .values(taken=True)
            )

    def in_use(self, *, before: float | None = None, limit: int = 1000) -> list[Due]:
        """Return the tokens that sessions use and that can be renewed, the most urgent first.

        Parameters
        ----------
        before
            Only those whose renewal is due by then.
        limit
            At most so many.
        """
        query = (
            select(GrantRow.owner, TokenRow, GrantRow.next_try_at)
            .join(GrantRow, GrantRow.id == TokenRow.grant_id)
            .where(
                TokenRow.taken.is_(True),
                GrantRow.state.in_((GrantState.LIVE.value, GrantState.RETRYING.value)),
            )
            .order_by(TokenRow.renew_at)
            .limit(limit)
        )
        if before is not None:
            query = query.where(and_(TokenRow.renew_at <= before, GrantRow.next_try_at <= before))
        with self._read() as session:
            return [
                Due(
                    owner,
                    Want(row.audience, frozenset(row.wanted_scopes.split())),
                    max(row.renew_at, next_try_at),
                )
                for owner, row, next_try_at in session.execute(query)
            ]

    def good_until(self, owner: str) -> float | None:
        """Return when the first of the tokens that are in use ends."""
        with self._read() as session:
            return session.scalar(
                select(TokenRow.expires_at)
                .join(GrantRow, GrantRow.id == TokenRow.grant_id)
                .where(GrantRow.owner == owner, TokenRow.taken.is_(True))
                .order_by(TokenRow.expires_at)
                .limit(1)
            )

    # -- inside ------------------------------------------------------------------------------

    @contextmanager
    def _read(self) -> Iterator[Session]:
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            raise unusable(error, self._engine.url) from None

    @contextmanager
    def _write(self) -> Iterator[Session]:
        try:
            with Session(self._writer) as session, session.begin():
                yield session
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise unusable(error, self._engine.url) from None

    def _put(self, owner: str, values: Mapping[str, Any]) -> None:
        with self._write() as session:
            row = self._row(session, owner)
            if row is None:
                session.add(GrantRow(owner=owner, generation=1, **values))
                return
            session.execute(delete(TokenRow).where(TokenRow.grant_id == row.id))
            session.execute(
                update(GrantRow)
                .where(GrantRow.id == row.id)
                .values(generation=GrantRow.generation + 1, **values)
            )

    def _row(self, session: Session, owner: str) -> GrantRow | None:
        return session.scalar(select(GrantRow).where(GrantRow.owner == owner))

    def _grant(self, row: GrantRow) -> StoredGrant:
        return StoredGrant(
            id=row.id,
            owner=row.owner,
            issuer=row.issuer,
            subject=row.subject,
            refresh_token=self._open_refresh(row),
            refresh_expires_at=row.refresh_expires_at,
            state=GrantState(row.state),
            generation=row.generation,
            failures=row.failures,
            failing_since=row.failing_since,
            next_try_at=row.next_try_at,
            last_error=row.last_error,
        )

    def _token(self, owner: str, want: Want, row: TokenRow) -> StoredToken:
        return StoredToken(
            value=self._cipher.open(row.value, _token_place(owner, want)),
            scopes=frozenset(row.granted_scopes.split()),
            issued_at=row.issued_at,
            renew_at=row.renew_at,
            expires_at=row.expires_at,
            taken=row.taken,
        )

    def _seal_refresh(self, owner: str, token: str | None) -> bytes | None:
        return None if token is None else self._cipher.seal(token, _grant_place(owner))

    def _open_refresh(self, row: GrantRow) -> str | None:
        if row.refresh_token is None:
            return None
        return self._cipher.open(row.refresh_token, _grant_place(row.owner))


def _changed(session: Session, statement: Any) -> int:
    return cast("CursorResult[Any]", session.execute(statement)).rowcount


def _same(grant: StoredGrant) -> Any:
    """Return an update that hits the grant only while it is the one that was read."""
    return update(GrantRow).where(GrantRow.id == grant.id, GrantRow.generation == grant.generation)


def _grant_place(owner: str) -> str:
    return f"grant {owner}"


def _token_place(owner: str, want: Want) -> str:
    return f"token {owner} {want.audience} {want.scope_key}"
