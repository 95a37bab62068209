"""The vault's tables as statements see them, and how a transaction begins and ends."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Select, Table, bindparam, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from roost_shepherd.vault.database import unusable, write_engine
from roost_shepherd.vault.models import GrantRow, GrantState, TokenRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection, Engine

# Tables and not their classes: one row for a moment needs no unit of work of an ORM.
grants = cast("Table", GrantRow.__table__)
tokens = cast("Table", TokenRow.__table__)
RENEWABLE = (GrantState.LIVE.value, GrantState.RETRYING.value)
GRANT_AND_TOKEN: Select[Any] = select(
    *grants.c,
    tokens.c.granted_scopes,
    tokens.c.value,
    tokens.c.issued_at,
    tokens.c.renew_at,
    tokens.c.expires_at,
    tokens.c.taken,
)
NO_LEASE: Mapping[str, Any] = {"lease_holder": None, "lease_until": 0.0}
HEALTHY: Mapping[str, Any] = {
    "failures": 0,
    "failing_since": None,
    "next_try_at": 0.0,
    "last_error": "",
    **NO_LEASE,
}
"""What a grant has about which there is nothing to tell."""
SAME = update(grants).where(
    grants.c.id == bindparam("b_id"),
    grants.c.generation == bindparam("b_generation"),
)
"""Hits the grant only while it is the one that was read."""


class Rows:
    """What has an engine, and whole transactions on it.

    Parameters
    ----------
    engine
        As :func:`~.database.open_vault` returns it.
    clock
        Seconds since the epoch.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._writer = write_engine(engine)
        self._clock = clock

    def close(self) -> None:
        """Give the database back."""
        self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise unusable(error, self._engine.url) from None

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        try:
            with self._writer.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise unusable(error, self._engine.url) from None


def changed(connection: Connection, statement: Any) -> int:
    """Run a statement; return how many rows it changed."""
    return connection.execute(statement).rowcount


def ran(connection: Connection, statement: Any, values: Mapping[str, Any], **where: object) -> int:
    """Run an update with these values; return how many rows it changed."""
    found = {f"b_{name}": value for name, value in where.items()}
    return connection.execute(statement, {**values, **found}).rowcount
