"""The broker's HTTP interface: paths, bodies, status codes."""

# typing.override came with Python 3.12.
# mypy: disable-error-code="explicit-override"
from __future__ import annotations

import json
import logging
import weakref
from typing import TYPE_CHECKING, Any

from tornado import web

from roost_spawner.clusters.slurm.broker.errors import (
    BadRequest,
    BrokerError,
    ScopeMissing,
    TooOften,
    Unauthenticated,
)

if TYPE_CHECKING:
    from roost_spawner.clusters.slurm.broker.service import Broker
    from roost_spawner.clusters.slurm.broker.tokens import Caller

log = logging.getLogger("roost.broker")

MAX_BODY = 64 * 1024
_RETRY_AFTER = "5"


class BaseHandler(web.RequestHandler):
    """JSON in, JSON out, and every failure a sentence."""

    broker: Broker

    def initialize(self, broker: Broker) -> None:
        """Take what the application was made with."""
        self.broker = broker
        self.application.settings["under_way"].add(self)

    def on_finish(self) -> None:
        """Take note that the answer is sent, or that nobody waits for it any more."""
        self.application.settings["under_way"].discard(self)

    def set_default_headers(self) -> None:
        """Answers are for one caller and one moment (RFC 9111, section 5.2)."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.clear_header("Server")

    def check_xsrf_cookie(self) -> None:
        """Nothing here is authorised by a cookie."""

    async def caller(self) -> Caller:
        """Return who asks."""
        return await self.broker.identify(self.request.headers.get("Authorization"))

    def body(self) -> Any:
        """Return the JSON body."""
        try:
            return json.loads(self.request.body)
        except (ValueError, RecursionError):
            raise BadRequest("The body is no JSON.") from None

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ARG002  tornado's signature
        """Answer a failure with ``{"error": sentence}``."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        answer = {"error": "The broker failed; its log says why."}
        if isinstance(error, BrokerError):
            self.set_status(error.status)
            answer["error"] = error.sentence
            if error.kind:
                answer["kind"] = error.kind
            self._challenge(error)
            if error.status == 503:
                self.set_header("Retry-After", _RETRY_AFTER)
            if isinstance(error, TooOften):
                self.set_header("Retry-After", str(error.seconds))
        elif isinstance(error, web.HTTPError):
            answer["error"] = f"{self.request.path} does not take {self.request.method} like this."
        self.finish(json.dumps(answer))

    def _challenge(self, error: BrokerError) -> None:
        """Say what would be taken (RFC 6750, section 3)."""
        if error.challenge is None:
            return
        value = 'Bearer realm="roost"'
        if error.challenge:
            words = "".join(
                c if " " <= c <= "~" and c not in '"\\' else "'" for c in error.sentence
            )
            value += f', error="{error.challenge}", error_description="{words}"'
        if isinstance(error, ScopeMissing):
            value += f', scope="{error.scope}"'
        self.set_header("WWW-Authenticate", value)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log our own refusals in a line, anything else with its place."""
        if isinstance(value, BrokerError):
            if value.status >= 500 or isinstance(value, Unauthenticated):
                log.warning("%s %s: %s", self.request.method, self.request.path, value)
        elif not isinstance(value, web.HTTPError):
            # No request headers: they hold the caller's token.
            log.error(
                "%s %s failed", self.request.method, self.request.path, exc_info=(typ, value, tb)
            )


class HealthHandler(BaseHandler):
    """``GET /v1/health``: the broker itself answers.  Asks Slurm nothing: it needs no token."""

    def get(self) -> None:
        """Answer."""
        self.write({"status": "ok"})


class JobsHandler(BaseHandler):
    """``/v1/jobs``."""

    async def post(self) -> None:
        """Submit."""
        caller = await self.caller()
        job_id = await self.broker.submit(caller, self.body())
        self.set_status(201)
        self.set_header("Location", f"/v1/jobs/{job_id}")
        self.write({"job_id": job_id})

    async def get(self) -> None:
        """List a hub's jobs."""
        caller = await self.caller()
        hub, known = self.get_query_argument("hub", ""), self.get_query_argument("since", "")
        self.write(await self.broker.news(caller, hub, known))


class JobHandler(BaseHandler):
    """``/v1/jobs/{id}``."""

    async def get(self, job_id: str) -> None:
        """Show one job."""
        caller = await self.caller()
        self.write(await self.broker.job(caller, job_id))

    async def delete(self, job_id: str) -> None:
        """Cancel one job."""
        caller = await self.caller()
        await self.broker.cancel(caller, job_id)
        self.set_status(204)


class CapacityHandler(BaseHandler):
    """``GET /v1/capacity``."""

    async def get(self) -> None:
        """Show what is free."""
        caller = await self.caller()
        self.write({"partitions": await self.broker.capacity(caller)})


class CheckHandler(BaseHandler):
    """``POST /v1/check``."""

    async def post(self) -> None:
        """Say what would become of a submit."""
        caller = await self.caller()
        self.write(await self.broker.check(caller, self.body()))


class NotFoundHandler(BaseHandler):
    """Everything else."""

    def prepare(self) -> None:
        """Refuse."""
        raise web.HTTPError(404)


def _log_request(handler: web.RequestHandler) -> None:
    """Log method, path, status and time; neither query nor headers."""
    request = handler.request
    log.debug(
        "%s %s %d %.0f ms",
        request.method,
        request.path,
        handler.get_status(),
        1000 * request.request_time(),
    )


def application(broker: Broker) -> web.Application:
    """Return the web application of one broker."""
    given = {"broker": broker}
    return web.Application(
        [
            (r"/v1/health", HealthHandler, given),
            (r"/v1/jobs", JobsHandler, given),
            (r"/v1/jobs/([^/]+)", JobHandler, given),
            (r"/v1/capacity", CapacityHandler, given),
            (r"/v1/check", CheckHandler, given),
        ],
        default_handler_class=NotFoundHandler,
        default_handler_args=given,
        log_function=_log_request,
        under_way=weakref.WeakSet(),
        compress_response=True,
    )
