"""Open the vault's database: file mode, SQLite's settings, the key's canary, migrations.

In this order, so that a wrong key is found out before anything is written.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alembic.command
import alembic.config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, delete, event, func, insert, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from roost_shepherd.errors import BadSetting, VaultLocked, VaultUnusable
from roost_shepherd.vault.models import GrantRow, MetaRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Inspector
    from sqlalchemy.engine import URL

    from roost_shepherd.vault.crypto import Cipher

_BUSY_MS = 5000
_OPEN_TRIES = 20
_ONE_OPENS = 0x726F6F7374  # any number that nothing else in the database locks
CANARY = "canary"
"""Name of the marks that keys leave, and the place that they are sealed for."""
_WRITE = "roost_write"
_PATIENCE = {
    "connect_timeout": 5,
    # A server that is gone without a word is noticed by the kernel, not after its two hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20000,
}
"""What libpq is told about a server that does not answer; the URL may say otherwise."""
VERSION_TABLE = "vault_version"
"""May share a database with JupyterHub, which has one of its own."""


def open_vault(url: str, cipher: Cipher) -> Engine:
    """Return an engine on a vault that the cipher opens and whose tables are current.

    Slow (it reads and writes files); called off the event loop or before it runs.

    Raises
    ------
    BadSetting
        If the URL is none.
    VaultLocked
        If the keys do not open what is there; nothing was changed then.
    VaultUnusable
        If the database cannot be read, written or migrated.
    """
    parsed = _parsed(url, "c.Shepherd.vault_url")
    if parsed.get_backend_name() == "sqlite":
        _create_private(parsed)
    engine = _engine(parsed)
    try:
        _check_and_migrate(engine, cipher)
    except SQLAlchemyError as error:
        engine.dispose()
        raise unusable(error, parsed) from None
    except CommandError:
        engine.dispose()
        raise VaultUnusable(
            "The vault of tokens was made by a newer Roost than this one; nothing was changed. "
            "Install that version again, or point c.Shepherd.vault_url elsewhere."
        ) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_existing(url: str, cipher: Cipher) -> Engine:
    """Return an engine on a vault that is there, and change nothing: for the admin's commands.

    Raises
    ------
    BadSetting, VaultLocked, VaultUnusable
        As :func:`open_vault`; also if there is no vault, or one of another version.
    """
    parsed = _parsed(url, "What was given")
    shown = parsed.render_as_string(hide_password=True)
    missing = VaultUnusable(f"There is no vault of tokens at {shown}.")
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise missing
    engine = _engine(parsed)
    try:
        with engine.begin() as connection:
            tables = inspect(connection)
            if not tables.has_table(MetaRow.__tablename__):
                raise missing
            _check_canaries(connection, tables, cipher)
            found = MigrationContext.configure(
                connection, opts={"version_table": VERSION_TABLE}
            ).get_current_revision()
        if found != ScriptDirectory.from_config(_alembic()).get_current_head():
            raise VaultUnusable(
                f"The vault of tokens at {shown} is of another version of Roost; nothing was "
                "changed. Start the hub of this version on it first."
            )
    except SQLAlchemyError as error:
        engine.dispose()
        raise unusable(error, parsed) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def _parsed(url: str, what: str) -> URL:
    """Read a URL; its text may hold a password and is not repeated."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadSetting(
            f"{what} is not a database URL; "
            "sqlite:////var/lib/roost/vault.sqlite is one, postgresql://roost@db.example.org/roost "
            "another."
        ) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def forget_older_keys(connection: Connection, cipher: Cipher) -> None:
    """Take away the marks of all keys but the newest: nothing is sealed with them any more."""
    for name, value in connection.execute(
        select(MetaRow.name, MetaRow.value).where(MetaRow.name.startswith(f"{CANARY}:"))
    ).all():
        if not cipher.is_newest(value, CANARY):
            connection.execute(delete(MetaRow).where(MetaRow.name == name))


def write_engine(engine: Engine) -> Engine:
    """Return the same engine, for transactions that write.

    On SQLite they take the write lock when they begin, so that they wait for each other instead of
    failing halfway (SQLite manual, "Isolation" and "BEGIN IMMEDIATE").
    """
    return engine.execution_options(**{_WRITE: True})


def unusable(error: SQLAlchemyError, url: URL) -> VaultUnusable:
    """Return our error for one of the database's; its statement and values stay out."""
    cause = getattr(error, "orig", None) or error
    return VaultUnusable(
        "The vault of tokens cannot be used at the moment; please tell the hub's admin.",
        detail=f"{url.render_as_string(hide_password=True)}: {type(cause).__name__}: "
        f"{str(cause)[:200]}",
    )


def _create_private(url: URL) -> None:
    """Make the file, for its owner only, before SQLite does; the -wal and -shm take its mode."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise BadSetting(
            "The vault of tokens must be a file or a server, so that a restart finds it again; "
            f"c.Shepherd.vault_url is {url.render_as_string(hide_password=True)!r}."
        )
    path = Path(url.database)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        for suffix in ("-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.chmod(0o600)
    except OSError as error:
        raise VaultUnusable(
            f"The vault of tokens {path} cannot be opened for this account alone "
            f"({error.strerror}); c.Shepherd.vault_url names the file.",
        ) from None


def _engine(url: URL) -> Engine:
    sqlite = url.get_backend_name() == "sqlite"
    arguments: dict[str, Any] = {"check_same_thread": False} if sqlite else {}
    if url.drivername == "postgresql+psycopg":
        arguments = {name: value for name, value in _PATIENCE.items() if name not in url.query}
    try:
        # hide_parameters: no error or log line of SQLAlchemy shows values.
        engine = create_engine(
            url,
            hide_parameters=True,
            connect_args=arguments,
            pool_pre_ping=not sqlite,
            # The connection that was used last has the pages that were.
            pool_use_lifo=True,
        )
    except (ImportError, NoSuchModuleError) as error:
        raise _no_driver(url, error) from None
    if sqlite:
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def _no_driver(url: URL, error: Exception) -> BadSetting:
    if url.drivername == "postgresql+psycopg":
        return BadSetting(
            "The vault of tokens is on PostgreSQL, whose driver psycopg cannot be loaded here; "
            "install it with `pip install 'jupyterhub-roost[postgresql]'`.",
            detail=f"{type(error).__name__}: {str(error)[:200]}",
        )
    return BadSetting(
        f"The vault of tokens cannot be on {url.drivername[:40]!r}, for which there is no driver "
        "here; sqlite:////... and postgresql://... are what c.Shepherd.vault_url may begin with.",
        detail=f"{type(error).__name__}: {str(error)[:200]}",
    )


def _on_connect(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # A renewed refresh token must survive a power cut too, or the grant is lost.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA secure_delete = ON")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _check_and_migrate(engine: Engine, cipher: Cipher) -> None:
    for left in reversed(range(_OPEN_TRIES)):
        try:
            with write_engine(engine).begin() as connection:
                if engine.dialect.name == "postgresql":
                    # Two processes that both begin: SQLite's write lock is not there.
                    connection.execute(select(func.pg_advisory_xact_lock(_ONE_OPENS)))
                _check_canaries(connection, inspect(connection), cipher)
                _migrate(connection)
                _leave_canary(connection, cipher)
        except OperationalError as error:
            # Two processes that both turn a new file to WAL: one is told "locked" at once.
            if not left or "locked" not in str(error.orig):
                raise
            time.sleep(0.1)
        else:
            return


def _check_canaries(connection: Connection, tables: Inspector, cipher: Cipher) -> None:
    if not tables.has_table(MetaRow.__tablename__):
        return
    found = canaries(connection)
    for canary in found:
        cipher.open(canary, CANARY)
    if not found and connection.scalar(select(func.count()).select_from(GrantRow)):
        raise VaultLocked(
            "The vault of tokens holds grants but no mark of its key, so it cannot be told "
            "whether the keys that are set are right; nothing was changed. "
            "Restore it from a copy, or move it away to begin anew."
        )


def _leave_canary(connection: Connection, cipher: Cipher) -> None:
    """Leave a mark of each key that ever sealed here: no key can be dropped unnoticed."""
    if any(cipher.is_newest(canary, CANARY) for canary in canaries(connection)):
        return
    connection.execute(
        insert(MetaRow).values(
            name=f"{CANARY}:{secrets.token_hex(8)}", value=cipher.seal(CANARY, CANARY)
        )
    )


def canaries(connection: Connection) -> Sequence[bytes]:
    """Return the marks that keys left."""
    return connection.scalars(
        select(MetaRow.value).where(MetaRow.name.startswith(f"{CANARY}:"))
    ).all()


def _migrate(connection: Connection) -> None:
    config = _alembic()
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


def _alembic() -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", "roost_shepherd.vault:migrations")
    return config
