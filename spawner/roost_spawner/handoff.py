"""The hub's interface for agents: ``{hub}/api/roost/v1/``; versioned: agents outlive upgrades.

::

    GET  agent/{sha256}.py        the agent's source
    POST sessions/{id}/bundle     {"key", "ticket"?}   authorised by the proof
    POST sessions/{id}/ready      {"port"}             by the server's own token
    POST sessions/{id}/tokens     {}                   likewise
    POST sessions/{id}/event      {"kind", "reason", "log_tail"?, "seconds_left"?}  likewise
    POST sessions/{id}/usage      {"memory_mib"}           likewise

Closed lists of fields, small bodies.  410: the session is over, end the job.  409, 429, 503: ask
again.  Who has not proved to be the job learns nothing: all refusals of a proof read the same, and
why stands in the log.

On import the handlers take their place in JupyterHub, and batchspawner's own callback, which sets
whatever attribute it is told, leaves it.
"""

# typing.override came with Python 3.12.
# mypy: disable-error-code="explicit-override"

from __future__ import annotations

import asyncio
import hmac
import json
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import batchspawner.api
from jupyterhub.apihandlers import APIHandler, default_handlers
from jupyterhub.metrics import prometheus_log_method
from jupyterhub.scopes import define_custom_scopes, has_scope
from roost_shepherd.pace import Pace
from tornado import web

from roost_spawner import agent_archive, compat, intake
from roost_spawner.bundle import ends_in
from roost_spawner.delivery import NOT_ALLOWED, refused, tell
from roost_spawner.errors import ProofRefused, RoostError
from roost_spawner.intake import MAX_BODY, BadBody
from roost_spawner.proof import Crowded, NotYet, digest, prove
from roost_spawner.quiet import Quiet
from roost_spawner.recovery import recover
from roost_spawner.sessions import Session, registry
from roost_spawner.support import blank

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from roost_spawner.intake import Check

PREFIX = "roost/v1/"
SCOPE = "custom:roost:session"
SCOPES = {SCOPE: {"description": "Be the agent of a session: report its state, fetch its tokens."}}
BODY_TIMEOUT = 15.0
"""Seconds within which a body must have arrived."""

LINGER = 0.5
"""Seconds for which a connection is kept whose body was refused."""

CALLS = Pace(60, 1.0)
"""Of a session's agent: some 10 when it starts, and a few in a minute later on."""
EVENTS = Pace(10, 6.0)
"""Of a session's agent: each is told to all who look at the session."""

_NOT_THE_JOB = "This caller has not proved to be the session's job."
_TOO_OFTEN = "This session calls too often."
_NOT_NOW = "Not now; ask again."
_BODY_REFUSED = {
    408: "the body is late",
    411: "the body must be announced with its length",
    413: f"the body may have up to {MAX_BODY} bytes",
}
# What a caller can do at will: refused, or told to come back.
_THEIRS = frozenset({*range(400, 500), HTTPStatus.SERVICE_UNAVAILABLE})

quiet = Quiet()


@web.stream_request_body
class _Handler(APIHandler):  # type: ignore[misc]  # JupyterHub ships no types
    """What all of these share: no cookies, small bodies, plain errors."""

    # A browser's cookies never authorise anything here, so there is nothing to forge.
    _accept_cookie_auth = False

    def check_xsrf_cookie(self) -> None:
        """Check nothing: only proofs and tokens count here."""

    async def refresh_auth(self, user: Any, *_: Any, **__: Any) -> Any:
        """Take the server's own token for what it is: it outlives its owner's login."""
        return user

    async def prepare(self) -> None:
        self._body = bytearray()
        self.request.connection.set_body_timeout(BODY_TIMEOUT + 5)
        self._timer = asyncio.get_running_loop().call_later(BODY_TIMEOUT, self._too_slow)
        headers = self.request.headers
        length = headers.get("Content-Length", "")
        if "Transfer-Encoding" in headers:
            await self._turn_away(411)
            return
        if length.isascii() and length.isdigit() and (len(length) > 9 or int(length) > MAX_BODY):
            await self._turn_away(413)
            return
        if self.request.method == "POST" and not intake.is_json(headers.get("Content-Type", "")):
            raise web.HTTPError(415, "the body must be application/json")
        await super().prepare()

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def _too_slow(self) -> None:
        if not self._finished and not self.request._body_future.done():  # noqa: SLF001 - tornado tells no other way
            self._refuse_body(408)
            self.finish()

    def _refuse_body(self, status: int) -> None:
        # Answered before its request has arrived, a connection is closed: nobody reads the rest.
        content = json.dumps({"status": status, "message": _BODY_REFUSED[status]})
        self.set_status(status)
        self.set_header("Connection", "close")
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(len(content)))
        self.write(content)

    async def _turn_away(self, status: int) -> None:
        # Tornado's own limit would only write a second answer after ours.
        self.request.connection.set_max_body_size(sys.maxsize)
        self._refuse_body(status)
        await self.flush()
        # Closed at once, with unread data, a connection is reset, and a proxy that is still sending
        # never reads our answer.
        await asyncio.sleep(LINGER)
        if not self._finished:
            self.finish()

    def on_finish(self) -> None:
        self._timer.cancel()
        super().on_finish()

    def on_connection_close(self) -> None:
        self._timer.cancel()
        super().on_connection_close()

    # -- the log, which strangers write --------------------------------------------------------

    def _kind(self, what: str) -> tuple[str, str, str]:
        name = next(iter(getattr(self, "path_args", ())), "")
        return type(self).__name__, what, name if registry.get(name) else ""

    def note(self, what: str, line: str) -> None:
        """Write a warning, unless one of its kind about this session was written just now."""
        more = quiet.due(*self._kind(what))
        if more is not None:
            self.log.warning("%s%s", line, more)

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Leave refusals to the access log."""
        if not isinstance(value, web.HTTPError):
            super().log_exception(typ, value, tb)

    def _log(self) -> None:
        status = self.get_status()
        if status not in _THEIRS or quiet.due(*self._kind(str(status))) is not None:
            super()._log()
        else:
            prometheus_log_method(self)

    # -- what all of them do -------------------------------------------------------------------

    def fields(
        self, required: Mapping[str, Check], optional: Mapping[str, Check] | None = None
    ) -> dict[str, Any]:
        """Return the body's fields: these and no others.

        Raises
        ------
        web.HTTPError
            400 that names the field, never its value.
        """
        try:
            return intake.read(bytes(self._body), required, optional)
        except BadBody as error:
            raise web.HTTPError(400, str(error)) from None

    def session(self, session_id: str) -> Session:
        """Return a session, or tell the agent that it is over."""
        session = registry.get(session_id)
        if session is None:
            recover(self.settings, self.db)  # an agent may be faster than a hub that starts
            session = registry.get(session_id)
        if session is None or session.stopping or session.record.left or session.record.ended:
            raise web.HTTPError(HTTPStatus.GONE, "This session is over.")
        return session

    def speaks_for(self, session_id: str) -> Session:
        """Return a session if the caller has the token of its server."""
        session = self.session(session_id)
        user, server = session.place
        token = self.get_auth_token() or ""
        allowed = self.current_user is not None and has_scope(
            f"{SCOPE}!server={user}/{server}", self.parsed_scopes, db=self.db
        )
        # The scope says which server; the hash, which of its sessions.
        if not allowed or not hmac.compare_digest(session.record.token_hash, digest(token)):
            raise web.HTTPError(403, "This token is not this session's.")
        # Counted here: nobody else can use up the calls of a session.
        CALLS.keep(session_id, _TOO_OFTEN)
        return session

    async def may_have_tokens(self, session: Session) -> bool:
        """Tell whether the session's user may still use the hub, where the authenticator knows."""
        user = self.find_user(session.place[0])
        ask = getattr(self.authenticator, "may_have_tokens", None)
        return user is not None and (ask is None or await ask(user, self))

    def answer(self, **content: Any) -> None:
        """Send JSON."""
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(content))

    def again(
        self, sentence: str = _NOT_NOW, *, status: int = 503, seconds: int = 1, **more: Any
    ) -> None:
        """Ask the agent to come back."""
        self.set_status(status)
        self.set_header("Retry-After", str(seconds))
        self.answer(status=status, message=sentence, **more)


class AgentHandler(_Handler):
    """The agent's source, by its hash."""

    def get(self, sha256: str) -> None:
        """Send the agent that the bootstrap has pinned: ours, or one of a hub before us."""
        source = agent_archive.find(self._folder(), sha256)
        if source is None:
            raise web.HTTPError(404, "This hub has another version of the agent.")
        self.set_header("Content-Type", "text/x-python; charset=utf-8")
        self.set_header("Cache-Control", "public, max-age=86400, immutable")
        self.finish(source)

    def _folder(self) -> Path | None:
        recover(self.settings, self.db)
        # Where there is no session, nobody waits for an agent of an earlier hub either.
        folders = (getattr(session.host, "agent_folder", "") for session in registry)
        return next((Path(folder) for folder in folders if folder), None)


class BundleHandler(_Handler):
    """What the job needs, for the job alone."""

    _proving: asyncio.Task[None] | None = None
    _gone = False

    async def post(self, session_id: str) -> None:
        """Hand the bundle out to who proves to be the job."""
        body = self.fields({"key": intake.is_key}, {"ticket": intake.is_ticket})
        session = self.session(session_id)
        try:
            proof = prove(session, key=body["key"], ticket=body.get("ticket", ""))
            self._proving = asyncio.ensure_future(proof)
            await self._proving
        except asyncio.CancelledError:
            if not self._gone:
                raise
            self.set_status(499, "Nobody waits any more")
            return
        except Crowded:
            self.again(status=429, seconds=2)
            return
        except NotYet:
            self.again(status=409)
            return
        except ProofRefused as error:
            self.note(error.sentence, f"No bundle for a caller of session {session_id}: {error}")
            raise web.HTTPError(403, _NOT_THE_JOB) from None
        except RoostError as error:
            self.note("cluster", f"Cannot check the proof of session {session_id}: {error}")
            self.again(status=409, seconds=2)
            return
        # The session may have ended while the caller waited.
        self.session(session_id)
        if not await self.may_have_tokens(session):
            raise web.HTTPError(HTTPStatus.GONE, NOT_ALLOWED)
        session.agent_version = (
            compat.agent_version(self.request.headers.get("User-Agent", "")) or 2
        )
        session.say(65, "The job has proved itself; the server starts.")
        try:
            bundle = await session.host.bundle(session)
        except RoostError as error:
            self.note("bundle", f"No bundle for session {session_id} yet: {error}")
            self.again(seconds=2)
            return
        self.answer(**bundle)

    def on_connection_close(self) -> None:
        """Wait for nobody's proof."""
        super().on_connection_close()
        self._gone = True
        if self._proving is not None:
            self._proving.cancel()


class ReadyHandler(_Handler):
    """The server answers."""

    def post(self, session_id: str) -> None:
        """Take note of the port and let the start end."""
        session = self.speaks_for(session_id)
        body = self.fields({"port": intake.is_port})
        if session.record.ready and session.record.port != body["port"]:
            raise web.HTTPError(403, "This session is ready already.")
        session.say(90, "The server answers.")
        session.update(port=body["port"], ready=True, started=True)
        self.answer(ends_in=ends_in(session.record.ends_at))


class TokensHandler(_Handler):
    """Fresh access tokens."""

    async def post(self, session_id: str) -> None:
        """Send the session's access tokens as they are now."""
        session = self.speaks_for(session_id)
        self.fields({})
        if await self.may_have_tokens(session):
            handout = await session.host.tokens(session)
        else:
            handout = refused(session.record)
        tell(session, handout)
        if handout.failure is not None and handout.none:
            self.again(handout.failure.sentence, seconds=5, token_states=handout.states)
            return
        self.answer(**handout.content, ends_in=ends_in(session.record.ends_at))


class EventHandler(_Handler):
    """What happens to the session, told by its agent."""

    def post(self, session_id: str) -> None:
        """Take note of an event."""
        session = self.speaks_for(session_id)
        EVENTS.keep(session_id, _TOO_OFTEN)
        body = self.fields(
            {"kind": intake.is_event, "reason": intake.text(500)},
            {"log_tail": intake.text(16 * 1024), "seconds_left": intake.is_seconds_left},
        )
        reason = intake.one_line(body["reason"])
        tail = blank(intake.printable(body.get("log_tail", "")))
        # A session can tell us as much as it likes; it fills its owner's page, not our log.
        if (more := quiet.due(*self._kind(body["kind"]))) is not None:
            self.log.info("Session %s: %s, %s%s", session.record.mark, body["kind"], reason, more)
            if tail:
                lines = "\n".join(f"    | {line}" for line in tail.split("\n"))
                self.log.warning(
                    "The server's last lines in session %s:\n%s", session.record.mark, lines
                )
        session.event(body["kind"], reason, tail, seconds_left=body.get("seconds_left"))
        self.answer()


class UsageHandler(_Handler):
    """What the session uses, told by its agent; for its owner to read, nothing is decided by it."""

    def post(self, session_id: str) -> None:
        """Take note of it, in memory only."""
        session = self.speaks_for(session_id)
        body = self.fields({"memory_mib": intake.is_memory})
        session.memory_used = (body["memory_mib"], time.time())
        self.answer()


class NowhereHandler(_Handler):
    """Whatever else is asked for below our paths; so that no big body is read there either."""

    async def prepare(self) -> None:
        """Refuse."""
        await super().prepare()
        if not self._finished:
            raise web.HTTPError(404)


_ID = r"([0-9a-f]{32})"
HANDLERS = [
    (rf"/api/{PREFIX}agent/([0-9a-f]{{64}})\.py", AgentHandler),
    (rf"/api/{PREFIX}sessions/{_ID}/bundle", BundleHandler),
    (rf"/api/{PREFIX}sessions/{_ID}/ready", ReadyHandler),
    (rf"/api/{PREFIX}sessions/{_ID}/tokens", TokensHandler),
    (rf"/api/{PREFIX}sessions/{_ID}/event", EventHandler),
    (rf"/api/{PREFIX}sessions/{_ID}/usage", UsageHandler),
    (rf"/api/{PREFIX}(?:agent|sessions)(?:/.*)?", NowhereHandler),
]


def install(handlers: list[tuple[str, type]]) -> None:
    """Put our handlers into a list of JupyterHub's, and take batchspawner's out."""
    handlers[:] = [
        entry for entry in handlers if entry[1] is not batchspawner.api.BatchSpawnerAPIHandler
    ]
    handlers.extend(entry for entry in HANDLERS if entry not in handlers)


install(default_handlers)
define_custom_scopes(SCOPES)
