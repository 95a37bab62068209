"""Encryption at rest: Fernet with a list of keys, so that keys can rotate.

Each secret is sealed together with the place that it belongs to.  Whoever can write to the
database but has no key cannot move one user's token into another user's row.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from roost_shepherd.errors import VaultLocked

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_HOW = (
    "Set ROOST_VAULT_KEYS (or c.Shepherd.vault_keys) to one or more keys of 32 bytes, in base64 or "
    "hex, separated by ';', the newest first; `openssl rand -hex 32` makes one."
)


class Cipher:
    """Seal and open secrets.

    Parameters
    ----------
    keys
        32 bytes each, as 64 hex digits or as base64.  The first seals, all open.

    Raises
    ------
    VaultLocked
        If there is no key or one of them is malformed; the key itself is not repeated.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        fernets = [_fernet(key.strip(), n) for n, key in enumerate(keys, 1) if key.strip()]
        if not fernets:
            raise VaultLocked(f"There is no key for the vault of tokens. {_HOW}")
        self._fernet = MultiFernet(fernets)
        self._newest = fernets[0]

    def seal(self, secret: str, place: str) -> bytes:
        """Encrypt ``secret`` for one ``place`` (table, owner, purpose)."""
        return self._fernet.encrypt(f"{place}\0{secret}".encode())

    def is_newest(self, sealed: bytes, place: str) -> bool:
        """Tell whether the newest key sealed this for this place."""
        try:
            return self._newest.decrypt(sealed).startswith(f"{place}\0".encode())
        except InvalidToken:
            return False

    def open(self, sealed: bytes, place: str) -> str:
        """Decrypt what :meth:`seal` made for the same place.

        Raises
        ------
        VaultLocked
            If no key fits, or it was sealed for another place.
        """
        try:
            found, _, secret = self._fernet.decrypt(sealed).decode().partition("\0")
        except (InvalidToken, UnicodeDecodeError):
            raise VaultLocked(
                "The keys that are set do not open the vault of tokens; nothing was changed. "
                "Set the key that it was made with, after any newer one."
            ) from None
        if found != place:
            raise VaultLocked(
                "The vault of tokens was changed by someone else: a secret is not where it was "
                "put. Nothing was handed out.",
                detail=f"wanted {place!r}",
            )
        return secret


def grant_place(owner: str) -> str:
    """Return the place of an owner's refresh token."""
    return f"grant {owner}"


def token_place(owner: str, audience: str, scope_key: str) -> str:
    """Return the place of an owner's access token for one audience and one set of scopes."""
    return f"token {owner} {audience} {scope_key}"


def _fernet(key: str, position: int) -> Fernet:
    try:
        if _HEX.fullmatch(key):
            raw = bytes.fromhex(key)
        else:
            raw = base64.b64decode(key.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise VaultLocked(f"Key {position} of the vault of tokens is not 32 bytes long. {_HOW}")
    return Fernet(base64.urlsafe_b64encode(raw))
