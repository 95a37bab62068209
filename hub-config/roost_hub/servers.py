"""Each server of a user in words, as the home page shows it and keeps it up to date.

:func:`collect` looks at JupyterHub's objects; what is made of it is pure.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roost_spawner import notices
from roost_spawner.errors import RoostError
from roost_spawner.site.units import show_memory
from roost_spawner.status import status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from roost_spawner.site.models import Site

OLD = 10 * 60.0
"""Seconds after which it is said how old a figure is."""
NEARLY_ALL = 0.9
"""Part of its memory from which on a session is warned."""

# What the page calls the states, and in which of Bootstrap's colours.
_STATES = {
    "preparing": ("Being submitted", "primary"),
    "queued": ("In the queue", "primary"),
    "starting": ("Starting", "primary"),
    "running": ("Running", "success"),
    "evicting": ("Ending", "danger"),
    "held": ("On hold", "danger"),
    "suspended": ("Paused", "warning"),
    "unknown": ("State unknown", "warning"),
    "unreachable": ("Cluster does not answer", "warning"),
    "ended": ("Not running", "secondary"),
}
_PENDING = {
    "stop": ("Stopping", "secondary"),
    "check": ("Being looked for", "secondary"),
    "rename": ("Being renamed", "secondary"),
}


@dataclass(frozen=True, slots=True)
class Server:
    """A server as the hub knows it.

    Attributes
    ----------
    name
        Empty for the default server.
    display_name
        As its owner wrote it.
    pending
        What JupyterHub waits for: ``spawn``, ``stop``, ``check``, ``rename``; empty: nothing.
    ready
        Whether it can be opened.
    status
        Of its session (:func:`~roost_spawner.status.status_of`); None if it has none.
    profile
        The session's profile, as people read it.
    last_end
        How the session before ended that its owner did not stop, or why it did not start.
    again
        Whether it could be started again as it was.
    """

    name: str
    display_name: str = ""
    pending: str = ""
    ready: bool = False
    status: Mapping[str, Any] | None = None
    profile: str = ""
    last_end: Mapping[str, Any] | None = None
    again: bool = False

    @property
    def title(self) -> str:
        """How the page calls it."""
        return f"Your server “{self.display_name or self.name}”" if self.name else "Your server"


@dataclass(frozen=True, slots=True)
class Card:
    """What the page shows of a server."""

    name: str
    title: str
    level: str
    """Of its state: one of Bootstrap's colours."""
    words: Mapping[str, str]
    """``state``, ``profile``, ``place``, ``left``, ``memory``, ``tokens``; ``notice``, a warning;
    ``ended``, why the session before ended.  Empty: there is nothing to say."""
    can: tuple[str, ...]
    """What can be done: ``open``, ``follow`` (its start), ``start``, ``stop``, ``restart``,
    ``delete``."""
    ends_at: float | None = None
    """End of the walltime, in seconds since the epoch."""
    status: Mapping[str, Any] | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "level": self.level,
            "words": dict(self.words),
            "can": list(self.can),
            "ends_at": self.ends_at,
            "status": self.status,
        }


def card(server: Server, now: float) -> Card:
    """Return what the page shows of a server (`now`: seconds since the epoch)."""
    status = server.status or {}
    state, level = _state(server)
    over = bool(status.get("over"))
    end = server.last_end if not server.ready and server.pending != "spawn" else None
    # What is being ended has not the time any more that its walltime would leave it.
    ends_at = None if over or status.get("state") == "evicting" else status.get("ends_at")
    words = {
        "state": state,
        "profile": server.profile,
        "place": _place(status),
        "left": _left(ends_at - now) if ends_at else "",
        "memory": "" if over else _memory(status.get("memory"), now),
        "tokens": "" if over else _tokens(status.get("tokens") or {}),
        "notice": _notice(server, now),
        "ended": ended(server.title, end),
    }
    return Card(
        name=server.name,
        title=server.title,
        level=level,
        words=words,
        can=_can(server),
        ends_at=ends_at,
        status=server.status,
    )


def ended(title: str, end: Mapping[str, Any] | None) -> str:
    """Return how a server's last session ended, or why it did not start; empty: nothing to say.

    Parameters
    ----------
    title
        How the page calls the server.
    end
        :attr:`Server.last_end`.
    """
    if not end or not end.get("why"):
        return ""
    return f"{title} {'has not started' if end.get('failed') else 'has ended'}: {end['why']}"


def _state(server: Server) -> tuple[str, str]:
    if server.pending in _PENDING:
        return _PENDING[server.pending]
    if server.status is not None:
        if server.status["over"]:
            return _STATES["ended" if server.status["state"] == "ended" else "evicting"]
        return _STATES.get(server.status["state"], _STATES["unknown"])
    return _STATES["starting"] if server.pending else _STATES["ended"]


def _can(server: Server) -> tuple[str, ...]:
    if server.ready:
        return ("open", "stop", *(["restart"] if server.again else []))
    if server.pending == "spawn":
        return ("follow", "stop")
    if server.pending:
        return ()
    return ("start", *(["delete"] if server.name else []))


def _place(status: Mapping[str, Any]) -> str:
    node = status.get("node") or ""
    # An address without a name stays whole.
    node = node if node.replace(".", "").isdigit() else node.partition(".")[0]
    slot = (status.get("slot") or "").partition("@")[0]
    cluster = status.get("cluster") or ""
    if not node:
        return cluster
    return f"{node}{f', {slot}' if slot else ''} ({cluster})"


def _left(seconds: float) -> str:
    if seconds <= 0:
        return "its time is over"
    minutes = math.ceil(seconds / 60)
    days, hours, rest = minutes // 1440, minutes % 1440 // 60, minutes % 60
    if days:
        return f"{days} d {hours} h left"
    return f"{hours} h {rest} min left" if hours else f"{rest} min left"


def _memory(memory: Mapping[str, Any] | None, now: float) -> str:
    if not memory or not memory.get("used_mib"):
        return ""
    used, most, at = memory["used_mib"], memory.get("limit_mib"), memory["at"]
    words = _amount(used)
    if most:
        words = f"{_amount(used)} of {show_memory(most)}"
        if used >= NEARLY_ALL * most:
            words += ", nearly all it may have"
    if now - at > OLD:
        words += f" ({round((now - at) / 60)} minutes ago)"
    return words


def _amount(mib: int) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib} MiB"


def _tokens(tokens: Mapping[str, Mapping[str, Any]]) -> str:
    if not tokens:
        return ""
    wrong = [
        f"{name}: {told}" if len(tokens) > 1 else told
        for name, token in tokens.items()
        if (told := _wrong(token))
    ]
    return " ".join(wrong) or "Good, and kept fresh"


def _wrong(token: Mapping[str, Any]) -> str:
    """Return what is wrong with a token, a sentence; empty if nothing is."""
    said = str(token.get("message") or "")
    if token.get("away"):
        said = f"{said} {token['away']} does not answer.".strip()
    if said or token.get("state") == "good":
        return said
    return "It cannot be renewed at the moment."


def _notice(server: Server, now: float) -> str:
    status = server.status
    if status is None or status.get("over") or server.pending == "stop":
        return ""
    if not status["reachable"]:
        goes_on = "goes on without it" if status["ready"] else "starts as soon as it does"
        return f"Cluster {status['cluster']} does not answer. {server.title} {goes_on}."
    if status["state"] == "running":
        due = notices.walltime(status.get("ends_at") or 0.0, frozenset(), now)
        return due[1].message if due else ""
    return str(status.get("why") or "")


def collect(user: Any, now: float) -> list[Server]:
    """Return all servers of a user, the default one first.

    Parameters
    ----------
    user
        JupyterHub's user.
    now
        Seconds since the epoch.
    """
    named = {orm.name: orm for orm in user.all_spawners(include_default=False)}
    default = user.spawner
    site = _site(default)
    found = [_server(default, site, now)]
    return found + [_server(named[name], site, now) for name in sorted(named)]


def _site(spawner: Any) -> Site | None:
    try:
        return spawner.engine.site if hasattr(spawner, "engine") else None
    except RoostError:
        return None


def _title(site: Site | None, profile: str) -> str:
    """Return what people call a profile: its name, once the site file has it no more."""
    known = site.profiles.get(profile) if site is not None else None
    return known.title if known else profile


def _server(spawner: Any, site: Site | None, now: float) -> Server:
    """Return what is known of a running server, or of the database's row of one that is not."""
    session = getattr(spawner, "session", None) or getattr(spawner, "waiting", None)
    profile = chosen = ""
    if session is not None:
        profile, chosen = (
            _title(site, name) for name in (session.record.profile, session.record.asked_profile)
        )
    orm = getattr(spawner, "orm_spawner", spawner)
    return Server(
        name=spawner.name,
        display_name=orm.display_name or "",
        pending=getattr(spawner, "pending", None) or "",
        ready=bool(getattr(spawner, "ready", False)),
        status=None if session is None else status_of(session, now),
        profile=f"{profile}, instead of {chosen}" if chosen else profile,
        last_end=getattr(spawner, "last_end", None) or (orm.state or {}).get("last_end"),
        again=bool(orm.user_options),
    )


def last_end(user: Any, name: str) -> str:
    """Return how a server's last session ended, for the page that stands in the server's place.

    Parameters
    ----------
    user
        JupyterHub's user, whose server it is.
    name
        Of the server.
    """
    orm = user.orm_user.orm_spawners.get(name)
    if orm is None:
        return ""
    server = _server(user.spawners.get(name) or orm, None, time.time())
    return "" if server.ready or server.pending else ended(server.title, server.last_end)


def ends_for_pages(_user: Any) -> Callable[[Any, str], str]:
    """Return :func:`last_end` for a template: of whose server the page itself says."""
    return last_end


def for_pages(user: Any) -> Callable[[], list[Card]]:
    """Return what a template calls to learn how its user's servers stand.

    JupyterHub calls this for every page; only one that wants to know pays for it.
    """

    def ask() -> list[Card]:
        now = time.time()
        return [card(server, now) for server in collect(user, now)]

    return ask
