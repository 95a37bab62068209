"""Which scopes a grant can never give.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_GROUPS = "wlcg.groups"
_WITH_PATHS = ("storage.",)
"""How the scopes begin that have a path (WLCG token profile, "Capability based authorization")."""


def lacking(wanted: Iterable[str], granted: Iterable[str]) -> tuple[str, ...]:
    """Return the wanted scopes that are in nothing of what a grant was given.

    A refresh may ask for no scope beyond those of the login (RFC 6749, section 6).  A path of the
    storage covers those below it.  Where nobody knows what was granted, none is named.

    Parameters
    ----------
    wanted
        What was asked for.
    granted
        What the provider gave with the login.
    """
    given = list(granted)
    if not given:
        return ()
    return tuple(sorted(w for w in set(wanted) if not any(covers(g, w) for g in given)))


def covers(granted: str, wanted: str) -> bool:
    """Tell whether who has the one scope may do what the other allows."""
    if granted == wanted:
        return True
    name, colon, path = granted.partition(":")
    other, _, below = wanted.partition(":")
    if name == other == _GROUPS:
        return not colon  # without a group it means all
    if not (colon and name == other and name.startswith(_WITH_PATHS)):
        return False
    return below.startswith(path.rstrip("/") + "/") and ".." not in below.split("/")
