"""A small client of slurmrestd: eight calls, one account per call, and a time limit on each.

Sources: Slurm's REST API reference and ``slurmrestd(8)``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPInputError

from roost_spawner.clusters.slurm.broker.errors import (
    BadRequest,
    BrokerError,
    JobNotFound,
    NotReached,
    SchedulerFailed,
    Unavailable,
)
from roost_spawner.clusters.slurm.broker.refusals import SUBMIT, error_of
from roost_spawner.clusters.slurm.broker.tokens import mint
from roost_spawner.clusters.slurm.broker.views import number
from roost_spawner.clusters.slurm.calls import make_client
from roost_spawner.clusters.slurm.sending import not_sent
from roost_spawner.clusters.slurm.states import FINAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tornado.simple_httpclient import SimpleAsyncHTTPClient

_OLDEST = 42
"""v0.0.42 is what Slurm 24.11 to 26.05 have in common (its plugins: 40-42 and 42-45)."""
_OFFERED = re.compile(rb"/slurm/v0\.0\.(\d+)/job/submit")
_MAX_ANSWER = 256 * 1024 * 1024  # all jobs of a large cluster, about 4 KiB each
log = logging.getLogger("roost.broker")

_WHOLE_EVERY = 60.0
"""Seconds after which jobs are asked for, changed or not: slurmctld's clock may be set back."""
_NOT_MODIFIED = 304  # RFC 9110, section 15.4.5

_MAX_CLIENTS = 16  # slurmrestd has 20 threads by default
_JOB_ID = re.compile(r"[1-9][0-9]{0,9}")


def choose_version(offered: bytes) -> str:
    """Return the API version to use: the oldest that we know and the server offers.

    The fields that we send are those of v0.0.42.  A newer version is taken only where that one
    has been removed.

    Raises
    ------
    SchedulerFailed
        If there is none.
    """
    versions = sorted({int(found) for found in _OFFERED.findall(offered.replace(b"\\/", b"/"))})
    for version in versions:
        if version >= _OLDEST:
            return f"v0.0.{version}"
    raise SchedulerFailed(
        f"The cluster's slurmrestd is older than API version v0.0.{_OLDEST} (Slurm 24.11).",
        detail=f"offered: {versions}",
    )


def check_job_id(job_id: str) -> str:
    """Return the job id if it is a plain number.

    Raises
    ------
    BadRequest
        If it is anything else: it becomes part of a URL.
    """
    if not _JOB_ID.fullmatch(job_id):
        raise BadRequest("The job id must be a number.")
    return job_id


@dataclass(frozen=True, slots=True)
class _Known:
    """The last answer with jobs in it."""

    account: str = ""
    last_update: int = 0
    at: float = float("-inf")
    """When the last one was asked for without ``update_time`` (``time.monotonic``)."""
    rows: list[dict[str, Any]] = field(default_factory=list)


class SlurmRest:
    """slurmrestd, asked as one account or another.

    Parameters
    ----------
    url
        On the loopback.
    key
        Slurm's HS256 key.
    timeout
        Seconds for one call.  slurmctld's own ``MessageTimeout`` is 10 s by default; wait longer
        than that, to get its answer instead of guessing.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        url: str,
        key: bytes,
        *,
        timeout: float = 15.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._timeout = timeout
        self._clock = clock
        self._version: str | None = None
        self._known = _Known()
        self._negotiating = asyncio.Lock()
        self._http: SimpleAsyncHTTPClient | None = None

    async def submit(self, account: str, body: Mapping[str, Any]) -> str:
        """Submit a job and return its id."""
        answer, refused = await self._ask("POST", SUBMIT, account=account, body=body)
        job_id = answer.get("job_id")
        if not isinstance(job_id, int) or job_id <= 0:
            raise refused or SchedulerFailed("Slurm took the job and told no job id.")
        if refused is not None:
            await self._must_live(account, str(job_id), refused)
        return str(job_id)

    async def _must_live(self, account: str, job_id: str, refused: BrokerError) -> None:
        """Raise the refusal of a job unless Slurm keeps the job all the same.

        It numbers jobs before it judges them, and some that it takes it calls wrong for now
        (``_job_submit_rc`` of slurmrestd knows only a part of these errors).
        """
        try:
            raw = await self.job(account, job_id)
        except JobNotFound:
            raise refused from None
        if FINAL.intersection(raw.get("job_state") or ()):
            raise refused
        log.warning("Slurm took job %s and said: %s", job_id, refused)

    async def jobs(self, account: str) -> list[dict[str, Any]]:
        """Return all jobs that this account may see, in one call.

        slurmctld sends nothing but a warning where no job has changed since the last answer
        (``update_time``; 26.05 answers 304 to some such calls).
        """
        known = self._known
        aged = time.monotonic() > known.at + _WHOLE_EVERY
        since = known.last_update if known.account == account and not aged else 0
        path = f"jobs/?update_time={since}" if since else "jobs/"
        answer = await self._call("GET", path, account=account)
        last_update = number(answer.get("last_update")) or 0
        if since and not last_update and not answer.get("jobs"):
            return known.rows
        rows = [row for row in _records(answer, "jobs") if isinstance(row.get("job_id"), int)]
        at = known.at if since else time.monotonic()
        self._known = _Known(account, last_update, at, rows)
        return rows

    async def job(self, account: str, job_id: str) -> dict[str, Any]:
        """Return one job.

        Raises
        ------
        JobNotFound
            If slurmctld has none, or none any more (``MinJobAge``).
        """
        path = f"job/{check_job_id(job_id)}"
        found = _records(await self._call("GET", path, account=account), "jobs")
        if not found:
            raise JobNotFound(f"Slurm has no job {job_id}.")
        return found[0]

    async def cancel(self, account: str, job_id: str) -> None:
        """Cancel a job.  Only ever call it for a job of this very account.

        slurmctld 24.11.5 refuses another one's cancel and then stops answering anyone, until it is
        restarted (seen twice).
        """
        answer = await self._call("DELETE", f"job/{check_job_id(job_id)}", account=account)
        for item in answer.get("status") or ():
            error = (item.get("error") or {}) if isinstance(item, dict) else {}
            if error.get("code"):
                told = {"error_number": error["code"], "error": error.get("string", "")}
                refused = error_of([told], f"cancel {job_id}")
                if refused is not None:
                    raise refused

    async def nodes(self, account: str) -> list[dict[str, Any]]:
        """Return all nodes."""
        return _records(await self._call("GET", "nodes/", account=account), "nodes")

    async def partitions(self, account: str) -> list[dict[str, Any]]:
        """Return all partitions."""
        return _records(await self._call("GET", "partitions/", account=account), "partitions")

    async def reservations(self, account: str) -> list[dict[str, Any]]:
        """Return all reservations."""
        return _records(await self._call("GET", "reservations/", account=account), "reservations")

    async def ping(self, account: str) -> str:
        """Ask whether slurmctld answers; return the API version in use."""
        await self._call("GET", "ping/", account=account)
        return self._version or ""

    def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._http.close()
            self._http = None

    async def _call(
        self, method: str, path: str, *, account: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        answer, refused = await self._ask(method, path, account=account, body=body)
        if refused is not None:
            raise refused
        return answer

    async def _negotiated(self, account: str) -> str:
        # The answer is large (0.7 MB): once for all who wait.
        async with self._negotiating:
            if self._version is None:
                try:
                    offered = await self._fetch("GET", "/openapi/v3", account=account, body=None)
                except Unavailable as error:
                    # Whatever else was wanted has not been sent.
                    raise NotReached(error.sentence, detail=error.detail) from None
                self._version = choose_version(offered[1])
            return self._version

    async def _ask(
        self, method: str, path: str, *, account: str, body: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], BrokerError | None]:
        """Return an answer, and what its errors amount to."""
        url = f"/slurm/{self._version or await self._negotiated(account)}/{path}"
        status, content = await self._fetch(method, url, account=account, body=body)
        if status == _NOT_MODIFIED:
            return {}, None
        try:
            # A user's job name or comment may be no UTF-8, and is in the listing for all.
            answer = json.loads(content.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            # A route that is gone after an upgrade is no JSON either: ask for the version anew.
            self._version = None
            raise SchedulerFailed(
                "Slurm's answer could not be read.", detail=f"{method} {url}: HTTP {status}"
            )
        errors = [item for item in answer.get("errors") or () if isinstance(item, dict)]
        if errors:
            return answer, error_of(errors, path)
        if status >= 400:
            raise SchedulerFailed(
                "Slurm could not answer.", detail=f"{method} {url}: HTTP {status}, no reason"
            )
        return answer, None

    async def _fetch(
        self, method: str, path: str, *, account: str, body: Mapping[str, Any] | None
    ) -> tuple[int, bytes]:
        if self._http is None:
            self._http = make_client(max_clients=_MAX_CLIENTS, max_body_size=_MAX_ANSWER)
        request = HTTPRequest(
            self._url + path,
            method=method,
            headers={
                "Accept": "application/json",
                "Content-Type": "application/json",
                "X-SLURM-USER-NAME": account,
                "X-SLURM-USER-TOKEN": mint(account, self._key, now=self._clock()),
            },
            body=None if body is None else json.dumps(body),
            connect_timeout=self._timeout,
            request_timeout=self._timeout,
            follow_redirects=False,
        )
        try:
            response = await self._http.fetch(request, raise_error=False)
        except (HTTPClientError, HTTPInputError, OSError, ValueError) as error:
            self._version = None  # it may come back as another version
            kind = NotReached if not_sent(error) else Unavailable
            # ``from None``: the error holds the request, and with it the minted token.
            raise kind(
                "Slurm does not answer at the moment.",
                detail=f"{method} {path}: {type(error).__name__}: {str(error)[:200]}",
            ) from None
        if response.code in (401, 403):
            raise SchedulerFailed(
                "Slurm does not take the broker's token.",
                detail=f"{method} {path}: HTTP {response.code}: is [slurm] jwt_key slurmctld's, "
                "and does slurmrestd run with SLURM_JWT=daemon?",
            )
        return response.code, response.body or b""


def _records(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = answer.get(name)
    if not isinstance(found, list):
        raise SchedulerFailed("Slurm's answer could not be read.", detail=f"no list of {name}")
    return [item for item in found if isinstance(item, dict)]
