"""Session ids that only this hub can make: so it tells its own jobs from those of a namesake.

Two hubs may have one ``hub_id``: one was copied from the other.  Each has a secret of its own in
the vault's database, and each id holds a code made with it.  Pure.
"""

from __future__ import annotations

import hmac
import re
import secrets

_DIGITS = 16
"""Hex digits of the random half of an id, and of the half that proves it."""
_MARK = re.compile(rf"([^/]+)/([0-9a-f]{{{_DIGITS}}})([0-9a-f]{{{_DIGITS}}})")


class Origin:
    """Makes session ids, and knows its own.

    Parameters
    ----------
    secret
        Of the vault's database; empty: ids prove nothing, and each counts as the hub's own.
    hub_url
        Where the hub is reached: of a hub that was copied with its database only this differs.
    """

    def __init__(self, secret: bytes = b"", hub_url: str = "") -> None:
        self._secret = secret
        self._hub_url = hub_url.rstrip("/")

    def new_id(self, hub_id: str) -> str:
        """Return a session's id: opaque, since anyone can read a queue."""
        half = secrets.token_hex(_DIGITS // 2)
        return half + (self._code(hub_id, half) if self._secret else secrets.token_hex(8))

    def made(self, mark: str) -> bool:
        """Tell whether a session mark has an id that this hub has made."""
        if not self._secret:
            return True
        found = _MARK.fullmatch(mark)
        if found is None:
            return False
        hub_id, half, code = found.groups()
        return hmac.compare_digest(code, self._code(hub_id, half))

    def _code(self, hub_id: str, half: str) -> str:
        said = f"{self._hub_url}\n{hub_id}\n{half}"
        return hmac.new(self._secret, said.encode(), "sha256").hexdigest()[:_DIGITS]
