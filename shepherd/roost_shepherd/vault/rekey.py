"""Seal the whole vault anew with the newest key, while it is in use.

Each step is one transaction that leaves the vault as good as it was, so that it may be cut off
anywhere and begun again: what is sealed with the newest key already is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update
from sqlalchemy.engine import make_url

from roost_shepherd.errors import VaultLocked
from roost_shepherd.vault.crypto import grant_place, token_place
from roost_shepherd.vault.database import (
    CANARY,
    canaries,
    forget_older_keys,
    open_existing,
)
from roost_shepherd.vault.rows import Rows, grants, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Table

    from roost_shepherd.vault.crypto import Cipher

_STEP = 100  # rows in one transaction: some ten milliseconds in which nobody else writes


@dataclass(frozen=True, slots=True)
class VaultStatus:
    """What a vault holds; nothing here is secret."""

    grants: dict[str, int] = field(default_factory=dict)
    """Number of grants by state."""
    tokens: int = 0
    in_use: int = 0
    secrets: int = 0
    older: int = 0
    """Secrets that an older key sealed."""
    keys: int = 0
    """Keys that ever sealed here and were not rotated away."""
    newest_known: bool = False
    """Whether a process has opened the vault with the newest key as its first."""


@dataclass(frozen=True, slots=True)
class _Secret:
    table: Table
    column: str
    id: int
    sealed: bytes = field(repr=False)
    place: str


class Rekey(Rows):
    """The vault, for the admin's commands.

    It neither makes nor migrates a vault, and leaves no mark of its keys there.

    Parameters
    ----------
    url
        Of a vault that exists.
    cipher
        All keys, the newest first.

    Raises
    ------
    VaultError, BadSetting
        If there is none, or the keys do not open it; nothing was changed.
    """

    def __init__(self, url: str, cipher: Cipher) -> None:
        super().__init__(open_existing(url, cipher))
        self._cipher = cipher
        self._url = url

    def status(self) -> VaultStatus:
        """Return what the vault holds and which keys it needs."""
        with self._read() as connection:
            states = connection.execute(
                select(grants.c.state, func.count()).group_by(grants.c.state)
            ).all()
            secrets = self._secrets(connection)
            marks = canaries(connection)
            return VaultStatus(
                grants={row[0]: row[1] for row in states},
                tokens=connection.scalar(select(func.count()).select_from(tokens)) or 0,
                in_use=connection.scalar(
                    select(func.count()).select_from(tokens).where(tokens.c.taken.is_(True))
                )
                or 0,
                secrets=len(secrets),
                older=len(self._older(secrets)),
                keys=len(marks),
                newest_known=any(self._cipher.is_newest(mark, CANARY) for mark in marks),
            )

    def rotate(self) -> int:
        """Seal with the newest key what another sealed; return how many secrets that were.

        In the end the marks of the older keys are taken away: only then can those be dropped.

        Raises
        ------
        VaultLocked
            If no process of the hub knows the newest key yet, or a secret cannot be opened.
        """
        if not self.status().newest_known:
            raise VaultLocked(
                "The hub does not know the newest key yet; nothing was changed. Put it in front of "
                "the others in the settings of the hub (and of roost-shepherd), restart them, and "
                "call this again."
            )
        resealed = 0
        while True:
            with self._read() as connection:
                older = self._older(self._secrets(connection))
            for start in range(0, len(older), _STEP):
                resealed += self._reseal(older[start : start + _STEP])
            with self._write() as connection:
                # In one transaction, so that nobody can seal with an older key in between.
                if not self._older(self._secrets(connection)):
                    forget_older_keys(connection, self._cipher)
                    break
        self._empty_log()
        return resealed

    def _reseal(self, older: Sequence[_Secret]) -> int:
        with self._write() as connection:
            for secret in older:
                plain = self._cipher.open(secret.sealed, secret.place)
                column = secret.table.c[secret.column]
                connection.execute(
                    update(secret.table)
                    # Renewed meanwhile, it is sealed with the newest key already, or comes again.
                    .where(secret.table.c.id == secret.id, column == secret.sealed)
                    .values({secret.column: self._cipher.seal(plain, secret.place)})
                )
        return len(older)

    def _older(self, secrets: Iterable[_Secret]) -> list[_Secret]:
        return [one for one in secrets if not self._cipher.is_newest(one.sealed, one.place)]

    def _secrets(self, connection: Connection) -> list[_Secret]:
        query = select(grants.c.id, grants.c.owner, grants.c.refresh_token)
        found = [
            _Secret(grants, "refresh_token", row.id, row.refresh_token, grant_place(row.owner))
            for row in connection.execute(query.where(grants.c.refresh_token.is_not(None)))
        ]
        joined = select(
            tokens.c.id, tokens.c.audience, tokens.c.wanted_scopes, tokens.c.value, grants.c.owner
        ).join(grants, grants.c.id == tokens.c.grant_id)
        for row in connection.execute(joined):
            place = token_place(row.owner, row.audience, row.wanted_scopes)
            found.append(_Secret(tokens, "value", row.id, row.value, place))
        return found

    def _empty_log(self) -> None:
        """Take what the old key sealed out of SQLite's write-ahead log too, if nobody reads it."""
        if make_url(self._url).get_backend_name() == "sqlite":
            with self._engine.connect() as connection:
                connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
