"""The hub's interface for people and their programs: how a session stands, now and as it changes.

::

    GET  {hub}/api/roost/v1/servers/{user}                    the user's default server
    GET  {hub}/api/roost/v1/servers/{user}/servers/{server}   a named one
    GET  .../events                                           the same as server-sent events
    GET  {hub}/api/roost/v1/users/{user}/servers              all of a user's, with words for people
    GET  {hub}/api/roost/v1/tokens/{user}                     how the user's grant stands
    GET  {hub}/api/roost/v1/profiles                          what the user may start (``profiles``)

Read-only.  Allowed to whoever may read the server (JupyterHub's scope ``read:servers``; of the
user, for the grant), and to the server itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from roost_shepherd.errors import ShepherdError
from roost_shepherd.pace import TooOften
from roost_spawner.handoff import SCOPE
from roost_spawner.status import status_of
from tornado import web
from tornado.iostream import StreamClosedError

from roost_hub import profiles, servers, tokens
from roost_hub.reader import Reader
from roost_hub.streams import close_at_end

if TYPE_CHECKING:
    from roost_spawner.sessions import Session

HEARTBEAT = 20.0
"""Seconds after which a stream repeats itself.  Proxies close silent ones, and JupyterHub's keeps
those open whose hub is gone: who listens knows by the silence."""

QUIET = 0.1
"""Seconds between two events of a stream: what happens meanwhile is in the second."""

STREAMS = 50
"""Streams of one server that a caller may have open; each tab of JupyterLab has one."""
_streams: Counter[tuple[str, str, str]] = Counter()


class _Handler(Reader):
    def spawner(self, user_name: str, server_name: str) -> Any:
        """Return a server's spawner, if the caller may see it."""
        place = f"{user_name}/{server_name}"
        if not self.may(f"read:servers!server={place}", f"{SCOPE}!server={place}"):
            raise web.HTTPError(403)
        user = self.find_user(user_name)
        if user is None or (server_name and server_name not in user.orm_spawners):
            raise web.HTTPError(404, "There is no such server.")
        return user.spawners[server_name]


class StatusHandler(_Handler):
    """How a session stands."""

    def get(self, user_name: str, server_name: str | None = None) -> None:
        """Answer once."""
        spawner = self.spawner(user_name, server_name or "")
        session: Session | None = spawner.session
        self.set_header("Cache-Control", "no-store")
        if session is not None:
            self.write(json.dumps(status_of(session, time.time())))
            return
        ended = {"state": "ended", "over": True, "ready": False, "notices": []}
        self.write(json.dumps(ended | (spawner.last_end or {})))


class EventsHandler(_Handler):
    """The same, again whenever it changes."""

    def get_content_type(self) -> str:
        """Return what the answer is."""
        return "text/event-stream"

    async def get(self, user_name: str, server_name: str | None = None) -> None:
        """Send events until the scheduler confirmed the end, or the listener is gone."""
        spawner = self.spawner(user_name, server_name or "")
        session: Session | None = spawner.session
        if session is None:
            raise web.HTTPError(404, "This server does not run.")
        stream = (str(self.current_user.name), user_name, server_name or "")
        if _streams[stream] >= STREAMS:
            sentence = f"You have {STREAMS} streams of this server open, as many as one may."
            raise TooOften(sentence, round(HEARTBEAT))
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Accel-Buffering", "no")
        close_at_end(self)
        _streams[stream] += 1
        try:
            await self._send(spawner, session)
        finally:
            _streams[stream] -= 1
            if not _streams[stream]:
                del _streams[stream]

    async def _send(self, spawner: Any, session: Session) -> None:
        while not self._finished:
            session = spawner.session or session  # another may have taken its place
            seen = session.changes
            try:
                self.write(f"data: {json.dumps(status_of(session, time.time()))}\n\n")
                await self.flush()
            except StreamClosedError:
                return
            if session.record.ended:
                return
            await asyncio.sleep(QUIET)
            if session.changes == seen:
                await session.changed(HEARTBEAT)


class ServersHandler(Reader):
    """All servers of a user, as the home page shows them: one question, however many there are."""

    def get(self, user_name: str) -> None:
        """Answer once."""
        if not self.may(f"read:servers!user={user_name}"):
            raise web.HTTPError(403)
        user, now = self.owner(user_name), time.time()
        cards = [servers.card(server, now).to_json() for server in servers.collect(user, now)]
        self.set_header("Cache-Control", "no-store")
        self.write(json.dumps({"servers": cards}))


class TokensHandler(_Handler):
    """How a user's grant stands."""

    async def get(self, user_name: str) -> None:
        """Answer once, without asking the provider."""
        own = self.parsed_scopes.get(SCOPE)
        servers = own.get("server", ()) if isinstance(own, dict) else ()
        itself = any(place.partition("/")[0] == user_name for place in servers)
        if not (self.may(f"read:servers!user={user_name}") or itself):
            raise web.HTTPError(403)
        self.owner(user_name)
        try:
            status = await self.authenticator.shepherd.status(user_name)
        except ShepherdError as error:
            raise web.HTTPError(503, error.sentence) from None
        self.set_header("Cache-Control", "no-store")
        self.write(json.dumps(tokens.to_json(status, time.time())))


_USER, _SERVER = r"([^/]+)", r"([^/]+)"
HANDLERS = [
    (rf"/api/roost/v1/servers/{_USER}", StatusHandler),
    (rf"/api/roost/v1/servers/{_USER}/events", EventsHandler),
    (rf"/api/roost/v1/servers/{_USER}/servers/{_SERVER}", StatusHandler),
    (rf"/api/roost/v1/servers/{_USER}/servers/{_SERVER}/events", EventsHandler),
    (rf"/api/roost/v1/users/{_USER}/servers", ServersHandler),
    (rf"/api/roost/v1/tokens/{_USER}", TokensHandler),
    *profiles.HANDLERS,
]
