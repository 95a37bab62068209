"""A Slurm cluster, as the hub sees it: the broker's API."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from roost_shepherd.errors import ShepherdError
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPInputError

from roost_spawner.clusters.base import Capacity, JobState, Judgement
from roost_spawner.clusters.slurm import capacity, reasons, states, submit
from roost_spawner.clusters.slurm.calls import make_client
from roost_spawner.clusters.slurm.sending import not_sent
from roost_spawner.errors import ClusterRefused, ClusterUnreachable, NotAuthorized, NotReached

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from tornado.simple_httpclient import SimpleAsyncHTTPClient

    from roost_spawner.clusters.base import JobId, JobRequest, JobView, Resources

_MAX_ANSWER = 64 * 1024 * 1024  # thousands of sessions, some 500 bytes each
_MAX_CLIENTS = 64
_SLICE = 100
"""Records that are read before others get the event loop."""


class SlurmBroker:
    """A cluster behind a broker.

    Parameters
    ----------
    name
        As the site file calls it.
    hub_id
        The hub's own part of every session mark.
    broker
        URL of the broker.
    audience
        What tokens for it are made out to.
    watch_token
        Returns the watcher's access token, with the scope compute.read only.
    ca_file
        CA certificates for the broker, if not the system's.
    log
        Where to say what has no name.
    timeout
        Seconds for one call; longer than the broker's own for Slurm, to get its answer.
    """

    submit_scopes: Sequence[str] = ("compute.create", "compute.cancel")
    needs_ticket = True

    def __init__(
        self,
        *,
        name: str,
        hub_id: str,
        broker: str,
        audience: str,
        watch_token: Callable[[], Awaitable[str]],
        ca_file: str | Path | None = None,
        log: logging.Logger | logging.LoggerAdapter[Any] | None = None,
        timeout: float = 20.0,
    ) -> None:
        self.name = name
        self.audience = audience
        self._hub_id = hub_id
        self._url = broker.rstrip("/")
        self._watch_token = watch_token
        self._ca_certs = str(ca_file) if ca_file else None
        self._log = log or logging.getLogger(__name__)
        self._timeout = timeout
        self._http: SimpleAsyncHTTPClient | None = None
        self._told: set[str] = set()
        self._sequence = ""
        self._views: dict[JobId, JobView] = {}

    async def submit(self, request: JobRequest, *, token: str) -> JobId:
        """Submit as the user whose `token` this is, and return the job's id."""
        answer = await self._call("POST", "/v1/jobs", token, body=submit.payload(request))
        job_id = answer.get("job_id") if answer else None
        if not isinstance(job_id, str) or not job_id:
            raise ClusterUnreachable(
                f"{self.name} took the job and did not say its number.", detail="no job_id"
            )
        return job_id

    async def cancel(self, job_id: JobId, *, token: str) -> None:
        """Remove a job as its owner; a job that is gone already is no error."""
        await self._call("DELETE", _job_path(job_id), token)

    async def watch(self) -> Mapping[JobId, JobView]:
        """Return every job of this hub, in one query, under the watcher's own identity.

        The broker sends what is new since its last answer.
        """
        since = quote(self._sequence, safe="")
        path = f"/v1/jobs?hub={quote(self._hub_id, safe='')}&since={since}"
        answer = await self._call("GET", path, await self._token())
        found = answer.get("jobs") if answer else None
        if answer is None or not isinstance(found, list):
            raise ClusterUnreachable(
                f"The broker of {self.name} gives no list of jobs.", detail=f"GET {path}"
            )
        if answer.get("whole", True):
            self._views = {}
        for job_id in answer.get("gone") or ():
            self._views.pop(job_id, None)
        for number, record in enumerate(found, 1):
            view = self._view(record)
            self._views[view.job_id] = view
            if not number % _SLICE:
                await asyncio.sleep(0)
        self._sequence = str(answer.get("sequence") or "")
        return dict(self._views)

    async def look(self, job_id: JobId) -> JobView | None:
        """Return one job as it is now; None if Slurm has no such job."""
        record = await self._call("GET", _job_path(job_id), await self._token())
        return None if record is None else self._view(record)

    async def fate(self, job_id: JobId) -> JobView | None:
        """Return how a job ended, as long as Slurm remembers it (``MinJobAge`` of slurm.conf)."""
        return await self.look(job_id)

    @property
    def hosts(self) -> Sequence[str]:
        """Return where its services are."""
        return [self._url]

    async def node(self, view: JobView) -> str | None:
        """Return the node as the controller has it, which no job can change."""
        return view.node

    async def warm(self) -> None:
        """Fetch the watcher's token, if it has to be fetched."""
        await self._token()

    async def explain(
        self, job_id: JobId, *, may_ask: Callable[[int], bool] = lambda _: True
    ) -> Sequence[str]:
        """Return why a job does not start, in sentences; empty if nothing is known."""
        if not may_ask(1):
            return []
        record = await self._call("GET", _job_path(job_id), await self._token())
        return [] if record is None else states.explanation(record, time.time())

    async def capacity(self) -> Capacity:
        """Return what is free, by partition."""
        answer = await self._call("GET", "/v1/capacity", await self._token())
        found = answer.get("partitions") if answer else None
        if not isinstance(found, dict):
            raise ClusterUnreachable(
                f"The broker of {self.name} does not tell its capacity.", detail="no partitions"
            )
        return Capacity({name: capacity.pool(name, record) for name, record in found.items()})

    async def judge(
        self, wanted: Resources, extras: Mapping[str, str], *, token: str | None = None
    ) -> Judgement:
        """Return what the broker's lists and Slurm's rules say; nothing is submitted."""
        body = submit.wish(wanted, extras)
        shown = token or await self._token()
        answer = await self._call("POST", "/v1/check", shown, body=body) or {}
        return Judgement(tuple(answer.get("problems", ())), tuple(answer.get("unchecked", ())))

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._http.close()
            self._http = None

    async def _token(self) -> str:
        try:
            return await self._watch_token()
        except ShepherdError as error:
            raise ClusterUnreachable(
                f"{self.name} cannot be asked at the moment: the hub has no token for it.",
                detail=str(error),
            ) from None

    def _view(self, record: Mapping[str, Any]) -> JobView:
        view = states.view(record)
        if view.state is JobState.UNKNOWN:
            self._tell(f"a job state without a name: {view.detail}")
        elif not reasons.known(reason := str(record.get("reason") or "")):
            self._tell(f"a reason without a name: {reason}")
        return view

    def _tell(self, words: str) -> None:
        """Say in the log, once, what Slurm has a name for and we have not."""
        if words not in self._told:
            self._told.add(words)
            self._log.warning("%s: %s", self.name, words)

    async def _call(
        self, method: str, path: str, token: str, *, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Ask the broker; None means that there is no such job."""
        if self._http is None:
            self._http = make_client(max_clients=_MAX_CLIENTS, max_body_size=_MAX_ANSWER)
        request = HTTPRequest(
            self._url + path,
            method=method,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            body=None if body is None else json.dumps(body),
            connect_timeout=self._timeout,
            request_timeout=self._timeout,
            follow_redirects=False,
            ca_certs=self._ca_certs,
        )
        place = f"{method} {path.partition('?')[0]}"
        try:
            response = await self._http.fetch(request, raise_error=False)
        except (HTTPClientError, HTTPInputError, OSError, ValueError) as error:
            kind = NotReached if not_sent(error) else ClusterUnreachable
            # ``from None``: the error holds the request, and with it the token.
            raise kind(
                f"{self.name} does not answer at the moment.",
                detail=f"{place}: {type(error).__name__}: {str(error)[:200]}",
            ) from None
        answer = _object(response.body)
        if response.code < 300:
            return answer or {}
        told = str((answer or {}).get("error") or "")[:500]
        detail = f"{place}: HTTP {response.code} {told}".rstrip()
        if response.code == 404 and answer and answer.get("kind") == "no_such_job":
            return None
        if response.code in (401, 403):
            raise NotAuthorized(told or f"{self.name} does not take your identity.", detail=detail)
        if response.code in (400, 429) and told:  # no job was made
            raise ClusterRefused(told, detail=detail)
        if answer and answer.get("kind") == "not_reached":
            raise NotReached(told or f"{self.name} does not answer at the moment.", detail=detail)
        # Not the broker's own answer, or one that says nothing about any job.
        raise ClusterUnreachable(
            told
            if response.code >= 500 and told
            else f"{self.name} cannot be asked at the moment.",
            detail=detail,
        )


def _job_path(job_id: JobId) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _object(body: bytes | None) -> dict[str, Any] | None:
    try:
        value = json.loads(body or b"")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
