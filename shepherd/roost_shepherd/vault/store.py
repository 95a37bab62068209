"""What can be done with the vault.  Synchronous: each method is one whole transaction.

Nothing here knows the provider; nothing leaves here but decrypted values for one caller.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, case, delete, insert, literal, or_, select, update
from sqlalchemy.exc import IntegrityError

from roost_shepherd.vault.crypto import token_place
from roost_shepherd.vault.database import open_vault
from roost_shepherd.vault.ended import Ended
from roost_shepherd.vault.models import GrantState, MetaRow
from roost_shepherd.vault.records import Begun, StoredGrant, StoredToken, Want
from roost_shepherd.vault.rounds import Rounds
from roost_shepherd.vault.rows import (
    GRANT_AND_TOKEN,
    HEALTHY,
    NO_LEASE,
    SAME,
    grants,
    ran,
    tokens,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sqlalchemy import Connection

    from roost_shepherd.vault.crypto import Cipher

# The statements of every renewal, made once: to make one costs more than to run it.
LINEAGE = "lineage"
"""The name in ``vault_meta`` of what tells two vaults apart."""
_OVERDUE = "overdue: "
"""Before the name of a holder that let its lease run out."""
_MORE_TIME = 5.0
"""Seconds that such a holder is given.  It may have an answer that a database which was away did
not take, and the refresh token is used up then; it writes within a second of the database's return.
"""
_COMES_AGAIN = 60.0
"""Seconds in which the lease is taken after that; later, the database may have been away again."""
_FREE = or_(
    grants.c.lease_holder.is_(None),
    grants.c.lease_holder == bindparam("b_holder"),
    and_(
        grants.c.lease_holder.startswith(_OVERDUE),
        grants.c.lease_until <= bindparam("b_now"),
        grants.c.lease_until > bindparam("b_long_ago"),
    ),
)
_TAKE = update(grants).where(grants.c.owner == bindparam("b_owner"), _FREE)
_GIVE_TIME = update(grants).where(
    grants.c.owner == bindparam("b_owner"),
    grants.c.lease_holder.is_not(None),
    grants.c.lease_until <= bindparam("b_now"),
)
_WANTED = and_(
    tokens.c.audience == bindparam("b_audience"),
    tokens.c.wanted_scopes == bindparam("b_scopes"),
)
_TOKEN = update(tokens).where(tokens.c.grant_id == bindparam("b_grant"), _WANTED)
_LOOK_UP = GRANT_AND_TOKEN.outerjoin_from(
    grants, tokens, and_(tokens.c.grant_id == grants.c.id, _WANTED)
).where(grants.c.owner == bindparam("b_owner"))
_MARK = (
    update(tokens)
    .where(
        tokens.c.grant_id
        == select(grants.c.id).where(grants.c.owner == bindparam("b_owner")).scalar_subquery(),
        _WANTED,
        tokens.c.issued_at == bindparam("b_issued"),
    )
    .values(taken=True)
)


class Vault(Rounds, Ended):
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
        super().__init__(open_vault(url, cipher), cipher, clock)

    def lineage(self) -> bytes:
        """Return this vault's own random secret, 32 bytes; made when it is first asked for.

        It opens nothing: by it a hub tells what it has made from what its copy has made.
        """
        known = select(MetaRow.value).where(MetaRow.name == LINEAGE)
        with self._read() as connection:
            found = connection.scalar(known)
        if found is None:
            with contextlib.suppress(IntegrityError), self._write() as connection:
                row = {"name": LINEAGE, "value": secrets.token_bytes(32)}
                connection.execute(insert(MetaRow).values(row))
            with self._read() as connection:
                found = connection.scalar(known)
        return bytes(found or b"")

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
            **HEALTHY,
            "state": (GrantState.LIVE if refresh_token else GrantState.NEEDS_LOGIN).value,
            "updated_at": self._clock(),
        }
        try:
            self._put(owner, values)
        except IntegrityError:
            # Two first logins of one user at once: the second now finds the first one's row.
            self._put(owner, values)

    def grant(self, owner: str) -> StoredGrant | None:
        """Return a grant with its refresh token, or ``None``."""
        with self._read() as connection:
            row = self._row(connection, owner)
            return None if row is None else self._grant(row)

    # -- leases ------------------------------------------------------------------------------

    def begin_renewal(
        self,
        owner: str,
        want: Want,
        *,
        holder: str,
        seconds: float,
        needed: Callable[[StoredGrant, StoredToken | None], bool],
    ) -> Begun:
        """Take the grant's lease and read what it is for, in one transaction.

        Parameters
        ----------
        owner, want
            Whose token, for what.
        holder, seconds
            Who renews, and for how long at most.  Another's lease that has run out is not taken at
            once: its holder is given a little more time first, and the result says so.
        needed
            Tells from what was read whether a renewal is needed; the lease is not taken if it is
            not, or if this raises.
        """
        with self._write() as connection:
            # First the lease, then the reading: on PostgreSQL this locks the row.
            now = self._clock()
            leased = self._lease(connection, owner, holder, now, seconds)
            overdue = not leased and self._give_time(connection, owner, now, seconds)
            grant, token = self._look_up(connection, owner, want)
            if leased and grant is not None and not needed(grant, token):
                connection.execute(update(grants).where(grants.c.id == grant.id).values(**NO_LEASE))
                leased = False
        return Begun(grant, token, leased=leased, overdue=overdue)

    def drop_lease(self, grant_id: int, holder: str) -> None:
        """Give the lease back, if it is still ours."""
        with self._write() as connection:
            connection.execute(
                update(grants)
                .where(
                    grants.c.id == grant_id,
                    grants.c.lease_holder.in_((holder, f"{_OVERDUE}{holder}")),
                )
                .values(**NO_LEASE)
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
        """Write a provider's answer, all of it or nothing, and give the lease back.

        Returns
        -------
        bool
            ``False`` if the grant was replaced or ended since it was read: then nothing is written.
        """
        values: dict[str, Any] = {
            **HEALTHY,
            "state": GrantState.LIVE.value,
            "updated_at": self._clock(),
        }
        if refresh_token is not None and refresh_token != grant.refresh_token:
            values |= {
                "refresh_token": self._seal_refresh(grant.owner, refresh_token),
                "refresh_expires_at": refresh_expires_at,
                "generation": grant.generation + 1,
            }
        same = {"id": grant.id, "generation": grant.generation}
        given = {
            "granted_scopes": " ".join(sorted(token.scopes)),
            "value": self._cipher.seal(
                token.value, token_place(grant.owner, want.audience, want.scope_key)
            ),
            "issued_at": token.issued_at,
            "renew_at": token.renew_at,
            "expires_at": token.expires_at,
            "taken": token.taken,
        }
        with self._write() as connection:
            if not ran(connection, SAME, values, **same):
                # A commit whose answer was lost with the connection is tried again.
                return self._holds(connection, grant, refresh_token)
            place = {"audience": want.audience, "scopes": want.scope_key}
            if not ran(connection, _TOKEN, given, grant=grant.id, **place):
                key = {
                    "grant_id": grant.id,
                    "audience": want.audience,
                    "wanted_scopes": want.scope_key,
                }
                connection.execute(insert(tokens), key | given)
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
        now = self._clock()
        values = {
            "state": state.value,
            "failures": grant.failures + 1,
            "failing_since": grant.failing_since or now,
            "next_try_at": next_try_at,
            "last_error": sentence,
            "updated_at": now,
            **NO_LEASE,
        }
        with self._write() as connection:
            return ran(connection, SAME, values, id=grant.id, generation=grant.generation) == 1

    # -- access tokens -----------------------------------------------------------------------

    def look_up(self, owner: str, want: Want) -> tuple[StoredGrant | None, StoredToken | None]:
        """Return a grant and its access token for ``want``, in one read."""
        with self._read() as connection:
            return self._look_up(connection, owner, want)

    def mark_taken(self, taken: Iterable[tuple[str, Want, float]]) -> None:
        """Note that somebody uses these very tokens, so that the loop renews them.

        Parameters
        ----------
        taken
            Owner, want, and when the token was issued.
        """
        marks = [
            {
                "b_owner": owner,
                "b_audience": want.audience,
                "b_scopes": want.scope_key,
                "b_issued": issued_at,
            }
            for owner, want, issued_at in taken
        ]
        with self._write() as connection:
            connection.execute(_MARK, marks)

    # -- inside ------------------------------------------------------------------------------

    def _put(self, owner: str, values: Mapping[str, Any]) -> None:
        with self._write() as connection:
            row = self._row(connection, owner)
            if row is None:
                connection.execute(insert(grants).values(owner=owner, generation=1, **values))
                return
            connection.execute(delete(tokens).where(tokens.c.grant_id == row.id))
            connection.execute(
                update(grants)
                .where(grants.c.id == row.id)
                .values(generation=grants.c.generation + 1, **values)
            )

    def _look_up(
        self, connection: Connection, owner: str, want: Want
    ) -> tuple[StoredGrant | None, StoredToken | None]:
        row = connection.execute(
            _LOOK_UP, {"b_owner": owner, "b_audience": want.audience, "b_scopes": want.scope_key}
        ).first()
        if row is None:
            return None, None
        return self._grant(row), None if row.value is None else self._token(owner, want, row)

    def _holds(self, connection: Connection, grant: StoredGrant, refresh_token: str | None) -> bool:
        """Tell whether this refresh token is the one that the vault has by now."""
        row = self._row(connection, grant.owner)
        return (
            row is not None
            and refresh_token is not None
            and row.generation == grant.generation + 1
            and self._open_refresh(row) == refresh_token
        )

    def _lease(
        self, connection: Connection, owner: str, holder: str, now: float, seconds: float
    ) -> bool:
        values = {"lease_holder": holder, "lease_until": now + seconds}
        where = {"owner": owner, "holder": holder, "now": now, "long_ago": now - _COMES_AGAIN}
        return ran(connection, _TAKE, values, **where) == 1

    def _give_time(self, connection: Connection, owner: str, now: float, seconds: float) -> bool:
        values = {
            "lease_holder": case(
                (grants.c.lease_holder.startswith(_OVERDUE), grants.c.lease_holder),
                else_=literal(_OVERDUE) + grants.c.lease_holder,
            ),
            "lease_until": now + min(_MORE_TIME, seconds),
        }
        statement = _GIVE_TIME.values(**values)
        return ran(connection, statement, {}, owner=owner, now=now) == 1
