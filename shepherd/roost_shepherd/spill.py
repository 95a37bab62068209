"""Answers of a provider in files, until the vault's database takes them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from roost_shepherd.errors import ShepherdError
from roost_shepherd.vault.models import GrantState
from roost_shepherd.vault.records import Answered, StoredGrant, StoredToken, Want

if TYPE_CHECKING:
    import logging

    from roost_shepherd.vault.crypto import Cipher

_SUFFIX = ".answer"


def folder_for(setting: str, vault_url: str) -> Path:
    """Return where answers are spilled: as set, else beside the vault's file.

    A vault on a server has no file; then it is a folder in the working directory, where a vault of
    the default name would be.
    """
    if setting:
        return Path(setting)
    try:
        url = make_url(vault_url)
    except ArgumentError:
        url = None
    if url is not None and url.get_backend_name() == "sqlite" and url.database:
        return Path(f"{url.database}-answers")
    return Path("roost-vault-answers")


class Spill:
    """A folder of sealed answers, one file for each owner.

    Parameters
    ----------
    folder
        Made with mode 0700 when it is needed.
    cipher
        The vault's: who cannot read the vault cannot read these either.
    log
        Takes no token.
    """

    def __init__(
        self, folder: Path, cipher: Cipher, log: logging.Logger | logging.LoggerAdapter[Any]
    ) -> None:
        self._folder = folder
        self._cipher = cipher
        self._log = log
        self._told: set[str] = set()

    def keep(self, answered: Answered) -> bool:
        """Write an answer down, whole or not at all; ``False`` if there is no place for it."""
        path = self._path(answered.grant.owner)
        beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._cipher.seal(_as_text(answered), _place(path)))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            self._tell_once(
                f"Cannot keep answers in {self._folder}, but in memory: {error.strerror}"
            )
            return False
        self._told.clear()
        return True

    def drop(self, answered: Answered) -> None:
        """Forget an answer that is in the vault; a newer one of the same owner stays."""
        path = self._path(answered.grant.owner)
        found = self._read(path)
        if found is not None and found.token.value == answered.token.value:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def all(self) -> list[Answered]:
        """Return what an earlier process left; a file that cannot be read stays where it is."""
        try:
            paths = sorted(self._folder.glob(f"*{_SUFFIX}"))
        except OSError:
            return []
        return [answered for path in paths if (answered := self._read(path)) is not None]

    def _tell_once(self, words: str) -> None:
        """Say it in the log until there is something new: it is tried every second."""
        if words not in self._told:
            self._told.add(words)
            self._log.warning("%s", words)

    def _path(self, owner: str) -> Path:
        return self._folder / f"{hashlib.sha256(owner.encode()).hexdigest()[:32]}{_SUFFIX}"

    def _read(self, path: Path) -> Answered | None:
        try:
            return _from_text(self._cipher.open(path.read_bytes(), _place(path)))
        except FileNotFoundError:
            return None
        except (OSError, ShepherdError, ValueError, TypeError, KeyError) as error:
            self._log.warning(
                "%s holds no answer that the vault's keys open; it is left there (%s)",
                path,
                type(error).__name__,
            )
            return None


def _place(path: Path) -> str:
    return f"answer {path.name}"


def _as_text(answered: Answered) -> str:
    grant, want, token = answered.grant, answered.want, answered.token
    return json.dumps(
        {
            "grant": {
                "id": grant.id,
                "owner": grant.owner,
                "issuer": grant.issuer,
                "subject": grant.subject,
                "refresh_token": grant.refresh_token,
                "generation": grant.generation,
            },
            "audience": want.audience,
            "wanted": sorted(want.scopes),
            "token": {
                "value": token.value,
                "issued_at": token.issued_at,
                "renew_at": token.renew_at,
                "expires_at": token.expires_at,
                "taken": token.taken,
            },
            "granted": sorted(token.scopes),
            "refresh_token": answered.refresh_token,
            "refresh_expires_at": answered.refresh_expires_at,
        }
    )


def _from_text(text: str) -> Answered:
    data = json.loads(text)
    return Answered(
        StoredGrant(
            **data["grant"],
            refresh_expires_at=None,
            scopes=frozenset(),
            state=GrantState.LIVE,
            failures=0,
            failing_since=None,
            next_try_at=0.0,
            last_error="",
        ),
        Want(data["audience"], frozenset(data["wanted"])),
        StoredToken(**data["token"], scopes=frozenset(data["granted"])),
        data["refresh_token"],
        data["refresh_expires_at"],
    )
