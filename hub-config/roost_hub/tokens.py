"""How a user's grant stands, in words.  Pure; no token, and no word that a provider wrote."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from roost_shepherd.errors import ShepherdError
from roost_shepherd.vault.models import GrantState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roost_shepherd.shepherd import GrantStatus

    Parts = tuple[str | float, ...]
    """A sentence: text, and times in seconds since the epoch."""

LOGIN_SOON = 3 * 24 * 3600.0
"""Seconds before the end of a login at which it is announced."""
_ENDED = frozenset(
    {GrantState.NEEDS_LOGIN, GrantState.AUP_REQUIRED, GrantState.SUSPENDED, GrantState.REVOKED}
)


@dataclass(frozen=True, slots=True)
class Health:
    """What a page shows of a grant.

    Attributes
    ----------
    level
        ``info`` if all is well, ``warning`` if time runs, ``danger`` if something has ended.
    parts
        The sentence; empty if there is nothing to say.
    """

    level: str
    parts: Parts = ()

    @property
    def text(self) -> str:
        """The sentence with its times in UTC."""
        return "".join(text for text, _ in self.pieces)

    @property
    def pieces(self) -> list[tuple[str, str]]:
        """Its pieces as a page shows them: the text, and for a time also HTML's ``datetime``."""
        return [
            (part, "") if isinstance(part, str) else (in_utc(part), machine_time(part))
            for part in self.parts
        ]


def in_utc(at: float) -> str:
    """Return a time for people who may be anywhere: with the day, unless it is today."""
    given = time.gmtime(at)
    today = time.strftime("%Y-%m-%d", given) == time.strftime("%Y-%m-%d", time.gmtime())
    return time.strftime("%H:%M UTC" if today else "%Y-%m-%d %H:%M UTC", given)


def machine_time(at: float) -> str:
    """Return a time as HTML's ``datetime`` attribute has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def health(status: GrantStatus, now: float) -> Health:
    """Return how a grant stands, in words.

    Parameters
    ----------
    status
        The shepherd's word.
    now
        Seconds since the epoch.
    """
    until = status.good_until
    good = until is not None and until > now
    if status.state in _ENDED:
        said = status.last_error or "Your login has ended; please log in again."
        if good and until is not None:
            return Health("danger", (said, " Until ", until, " the token that you have is good."))
        return Health("danger", (said,))
    if status.state == GrantState.RETRYING:
        return _late(status, good=good)
    parts: Parts = ()
    if until is not None and good:
        parts = ("Your token is good until ", until, " and is renewed before.")
    ends = status.login_until
    if status.state == GrantState.LIVE and ends is not None and ends - now < LOGIN_SOON:
        more = (" " if parts else "", "Your login ends at ", ends, ": log in again before.")
        return Health("warning", (*parts, *more))
    return Health("info", parts)


def _late(status: GrantStatus, *, good: bool) -> Health:
    who = urlsplit(status.issuer or "").hostname or "the identity provider"
    parts: Parts
    if status.good_until is None:
        parts = ("You have no token: ", who, " does not answer")
    elif good:
        parts = ("Your token is good until ", status.good_until, "; ", who, " does not answer")
    else:
        parts = ("Your token has ended at ", status.good_until, "; ", who, " does not answer")
    if status.failing_since is not None:
        parts = (*parts, " since ", status.failing_since)
    return Health("warning" if good else "danger", (*parts, "."))


def to_json(status: GrantStatus, now: float) -> dict[str, Any]:
    """Return what programs are told; times in seconds since the epoch."""
    return {
        "state": str(status.state),
        "good_until": status.good_until,
        "login_until": status.login_until,
        "failing_since": status.failing_since,
        "last_error": status.last_error,
        "message": health(status, now).text,
    }


def for_pages(user: Any) -> Callable[[], Awaitable[Health]]:
    """Return what a template calls to learn how its user's grant stands.

    JupyterHub calls this for every page; only one that wants to know pays for it.
    """

    async def ask() -> Health:
        shepherd = getattr(getattr(user, "authenticator", None), "shepherd", None)
        if shepherd is None:
            return Health("info")
        try:
            return health(await shepherd.status(user.name), time.time())
        except ShepherdError as error:
            return Health("danger", (error.sentence,))

    return ask
