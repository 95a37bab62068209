"""What a caller whom nobody knows may send: small JSON objects with a closed list of fields.

Pure.  Every refusal names the field, never its value.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Check = Callable[[object], bool]

MAX_BODY = 64 * 1024
"""Bytes."""
MAX_SECONDS_LEFT = 3600
MAX_MEMORY_MIB = 1 << 26
"""64 TiB."""

_KEY = re.compile(r"[0-9a-f]{64}")
_TICKET = re.compile(r"[A-Za-z0-9_-]{16,128}")
_EVENTS = frozenset({"evicting", "failed", "ended"})
# Control, format (bidirectional overrides, invisible ones), surrogate, private, unassigned; and
# what a log viewer takes for the end of a line.
_NOT_SHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class BadBody(ValueError):
    """A body cannot be used; the message says what is wrong and holds nothing of it."""


def text(limit: int) -> Check:
    """Return a check for a string of at most `limit` characters."""
    return lambda value: isinstance(value, str) and len(value) <= limit


def is_key(value: object) -> bool:
    """Whether this is an agent's key: 64 hex digits."""
    return isinstance(value, str) and bool(_KEY.fullmatch(value))


def is_ticket(value: object) -> bool:
    """Whether this can be a ticket."""
    return isinstance(value, str) and bool(_TICKET.fullmatch(value))


def is_port(value: object) -> bool:
    """Whether a user's program can listen on this port."""
    return type(value) is int and 1024 <= value <= 65535


def is_event(value: object) -> bool:
    """Whether we know events of this kind."""
    return isinstance(value, str) and value in _EVENTS


def is_seconds_left(value: object) -> bool:
    """Whether this can be the time that an eviction leaves, in whole seconds."""
    return type(value) is int and 0 <= value <= MAX_SECONDS_LEFT


def is_memory(value: object) -> bool:
    """Whether a session can use this much memory, in whole MiB."""
    return type(value) is int and 0 <= value <= MAX_MEMORY_MIB


def is_json(content_type: str) -> bool:
    """Whether a Content-Type header announces JSON; its charset is UTF-8 anyway (RFC 8259)."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two readers of a doubled name one sees the first value and one the last (RFC 8259,
    # section 4).
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadBody("a field is there twice")
    return found


def _no_number(_name: str) -> NoReturn:
    raise BadBody("the body is no JSON")  # NaN and Infinity, which Python would take


def read(
    raw: bytes, required: Mapping[str, Check], optional: Mapping[str, Check] | None = None
) -> dict[str, Any]:
    """Return a body's fields: these and no others.

    Parameters
    ----------
    raw
        The body; an empty one stands for no fields.
    required, optional
        Checks by name.

    Raises
    ------
    BadBody
        If it is no JSON object in UTF-8, or a field is missing, unknown, there twice or not
        allowed so.
    """
    allowed = {**required, **(optional or {})}
    try:
        # Not `json.loads(raw)`, which would guess at UTF-16 and UTF-32.
        body = json.loads(
            raw.decode("utf-8") or "{}", object_pairs_hook=_once, parse_constant=_no_number
        )
    except BadBody:
        raise
    except (ValueError, RecursionError):
        raise BadBody("the body is no JSON") from None
    if not isinstance(body, dict):
        raise BadBody("the body is no JSON object")
    if unknown := body.keys() - allowed.keys():
        raise BadBody(f"{len(unknown)} fields are unknown here")
    for name, good in allowed.items():
        if (name in required or name in body) and not good(body.get(name)):
            raise BadBody(f"the field {name} is missing or not allowed so")
    return body


def printable(value: str) -> str:
    """Return a text in which nothing can move, hide or forge what stands around it in a log."""
    return "".join(
        "?" if unicodedata.category(char) in _NOT_SHOWN and char not in "\t\n" else char
        for char in value
    )


def one_line(value: str) -> str:
    """Return a printable text without line breaks."""
    return " ".join(printable(value).split())
