"""The hub's interface for agents: ``{hub}/api/roost/v1/``; versioned: agents outlive upgrades.

::

    GET  agent/{sha256}.py        the agent's source
    POST sessions/{id}/bundle     {"key", "ticket"?}             authorised by the proof
    POST sessions/{id}/ready      {"port"}                       by the server's own token
    POST sessions/{id}/tokens     {}                             likewise
    POST sessions/{id}/event      {"kind", "reason", "log_tail"} likewise

Closed lists of fields, small bodies.  410: the session is over, end the job.  503: ask again.
On import the handlers take their place in JupyterHub, and batchspawner's own callback, which sets
whatever attribute it is told, leaves it.
"""

from __future__ import annotations

import hmac
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import batchspawner.api
from jupyterhub import orm
from jupyterhub.apihandlers import APIHandler, default_handlers
from jupyterhub.scopes import define_custom_scopes, has_scope
from roost_shepherd.errors import ShepherdError
from tornado import web

from roost_spawner.bootstrap import agent_source
from roost_spawner.errors import ClusterError, ProofRefused, RoostError
from roost_spawner.proof import NotYet, digest, prove
from roost_spawner.sessions import Session, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "roost/v1/"
SCOPE = "custom:roost:session"
SCOPES = {SCOPE: {"description": "Be the agent of a session: report its state, fetch its tokens."}}
MAX_BODY = 64 * 1024
BODY_TIMEOUT = 15.0
"""Seconds within which a body must have arrived."""

_KEY = re.compile(r"[0-9a-f]{64}")
_TICKET = re.compile(r"[A-Za-z0-9_-]{16,128}")
_EVENTS = frozenset({"evicting", "failed", "ended"})
_UNPRINTABLE = re.compile(r"[^\t\n\x20-\x7e\u00a0-\U0010ffff]")


def _text(limit: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and len(value) <= limit


def _is_key(value: object) -> bool:
    return isinstance(value, str) and bool(_KEY.fullmatch(value))


def _is_ticket(value: object) -> bool:
    return isinstance(value, str) and bool(_TICKET.fullmatch(value))


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1024 <= value <= 65535


def _is_event(value: object) -> bool:
    return isinstance(value, str) and value in _EVENTS


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
        self.request.connection.set_max_body_size(MAX_BODY)
        self.request.connection.set_body_timeout(BODY_TIMEOUT)
        if int(self.request.headers.get("Content-Length") or 0) > MAX_BODY:
            raise web.HTTPError(413, f"the body may have up to {MAX_BODY} bytes")
        await super().prepare()

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def fields(
        self,
        required: Mapping[str, Callable[[object], bool]],
        optional: Mapping[str, Callable[[object], bool]] | None = None,
    ) -> dict[str, Any]:
        """Return the body's fields: these and no others.

        Raises
        ------
        web.HTTPError
            400 that names the field, never its value.
        """
        allowed = {**required, **(optional or {})}
        try:
            body = json.loads(bytes(self._body) or b"{}")
        except (ValueError, RecursionError):
            raise web.HTTPError(400, "the body is no JSON") from None
        if not isinstance(body, dict):
            raise web.HTTPError(400, "the body is no JSON object")
        if unknown := body.keys() - allowed.keys():
            raise web.HTTPError(400, f"{len(unknown)} fields are unknown here")
        for name, good in allowed.items():
            if (name in required or name in body) and not good(body.get(name)):
                raise web.HTTPError(400, f"the field {name} is missing or not allowed so")
        return body

    def session(self, session_id: str) -> Session:
        """Return a session, or tell the agent that it is over."""
        session = registry.get(session_id) or self._recovered(session_id)
        if session is None or session.stopping or session.record.left or session.record.ended:
            raise web.HTTPError(HTTPStatus.GONE, "This session is over.")
        return session

    def _recovered(self, session_id: str) -> Session | None:
        """Load what the database knows, once after a start: an agent may be faster than the hub."""
        if self.settings.get("roost_recovered"):
            return None
        self.settings["roost_recovered"] = True
        users = self.settings["users"]
        for spawner in self.db.query(orm.Spawner):
            if (spawner.state or {}).get("sessions"):
                users[spawner.user].spawners[spawner.name]  # loads its state
        return registry.get(session_id)

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
        return session

    def answer(self, **content: Any) -> None:
        """Send JSON."""
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(content))

    def again(self, error: RoostError | ShepherdError, seconds: int = 1) -> None:
        """Ask the agent to come back."""
        self.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
        self.set_header("Retry-After", str(seconds))
        self.answer(status=503, message=error.sentence)


class AgentHandler(_Handler):
    """The agent's source, by its hash."""

    def get(self, sha256: str) -> None:
        """Send the agent that the bootstrap has pinned."""
        source, current = agent_source()
        if sha256 != current:
            raise web.HTTPError(404, "This hub has another version of the agent.")
        self.set_header("Content-Type", "text/x-python; charset=utf-8")
        self.set_header("Cache-Control", "public, max-age=86400, immutable")
        self.finish(source)


class BundleHandler(_Handler):
    """What the job needs, for the job alone."""

    async def post(self, session_id: str) -> None:
        """Hand the bundle out to who proves to be the job."""
        body = self.fields({"key": _is_key}, {"ticket": _is_ticket})
        session = self.session(session_id)
        try:
            cluster = session.host.cluster(session)
            await prove(session, cluster, key=body["key"], ticket=body.get("ticket", ""))
        except NotYet as error:
            self.again(error)
            return
        except ProofRefused as error:
            self.log.warning("No bundle for a caller of session %s: %s", session_id, error)
            raise web.HTTPError(403, error.sentence) from None
        except ClusterError as error:
            self.log.warning("Cannot check the proof of session %s: %s", session_id, error)
            self.again(error, 2)
            return
        session.say(65, "The job has proved itself; the server starts.")
        self.answer(**await session.host.bundle(session))


class ReadyHandler(_Handler):
    """The server answers."""

    def post(self, session_id: str) -> None:
        """Take note of the port and let the start end."""
        session = self.speaks_for(session_id)
        body = self.fields({"port": _is_port})
        if session.record.ready and session.record.port != body["port"]:
            raise web.HTTPError(403, "This session is ready already.")
        session.say(90, "The server answers.")
        session.update(port=body["port"], ready=True, started=True)
        self.answer()


class TokensHandler(_Handler):
    """Fresh access tokens."""

    async def post(self, session_id: str) -> None:
        """Send the session's access tokens as they are now."""
        session = self.speaks_for(session_id)
        self.fields({})
        try:
            tokens = await session.host.tokens(session)
        except ShepherdError as error:
            self.again(error, 5)
            return
        self.answer(tokens=tokens)


class EventHandler(_Handler):
    """What happens to the session, told by its agent."""

    def post(self, session_id: str) -> None:
        """Take note of an event."""
        session = self.speaks_for(session_id)
        body = self.fields(
            {"kind": _is_event, "reason": _text(500)}, {"log_tail": _text(16 * 1024)}
        )
        reason = _UNPRINTABLE.sub("?", body["reason"])
        tail = _UNPRINTABLE.sub("?", body.get("log_tail", ""))
        self.log.info("Session %s: %s, %s", session.record.mark, body["kind"], reason)
        if tail:
            self.log.warning(
                "The server's last lines in session %s:\n%s", session.record.mark, tail
            )
        session.event(body["kind"], reason, tail)
        self.answer()


_ID = r"([0-9a-f]{32})"
HANDLERS = [
    (rf"/api/{PREFIX}agent/([0-9a-f]{{64}})\.py", AgentHandler),
    (rf"/api/{PREFIX}sessions/{_ID}/bundle", BundleHandler),
    (rf"/api/{PREFIX}sessions/{_ID}/ready", ReadyHandler),
    (rf"/api/{PREFIX}sessions/{_ID}/tokens", TokensHandler),
    (rf"/api/{PREFIX}sessions/{_ID}/event", EventHandler),
]


def install(handlers: list[tuple[str, type]]) -> None:
    """Put our handlers into a list of JupyterHub's, and take batchspawner's out."""
    handlers[:] = [
        entry for entry in handlers if entry[1] is not batchspawner.api.BatchSpawnerAPIHandler
    ]
    handlers.extend(entry for entry in HANDLERS if entry not in handlers)


install(default_handlers)
define_custom_scopes(SCOPES)
