"""One careful way to ask a provider something.

Every call has a time limit and a size limit, follows no redirect (a redirected token request would
carry the client's secret elsewhere), and ends in an answer or in a :class:`~.errors.Transient`.
"""

from __future__ import annotations

import email.utils
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httputil import HTTPInputError

from roost_shepherd.errors import BadSetting, ProviderBusy, ProviderUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_BODY = 4 * 1024 * 1024
_MAX_CLIENTS = 32
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said; the body may hold tokens and so has no repr."""

    status: int
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any] | None:
        """Return the body if it is a JSON object, else ``None``."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


def require_https(url: str, what: str) -> str:
    """Return ``url`` if it is safe to send secrets there.

    Plain HTTP is taken on the loopback only (RFC 6749, section 3.2, demands TLS).

    Raises
    ------
    BadSetting
        If it is not an absolute https URL.
    """
    try:
        parts = urlsplit(url)
        loopback = parts.hostname in _LOOPBACK
        usable = bool(parts.hostname) and not parts.username and not parts.fragment
    except ValueError:
        usable = loopback = False
        parts = urlsplit("")
    if not usable or (parts.scheme != "https" and not (parts.scheme == "http" and loopback)):
        raise BadSetting(f"{what} must be an https:// URL; it is {url[:200]!r}.")
    return url


class HttpClient:
    """A lazily made private tornado client.

    Private, because tornado's shared client has ten places: a provider that hangs would fill them
    and stall everything else that the hub asks for.

    Parameters
    ----------
    client
        Use this one instead of a private one.
    ca_certs
        File of CA certificates in PEM form, if not the system's.
    timeout
        Seconds for one whole call.
    """

    def __init__(
        self,
        client: AsyncHTTPClient | None = None,
        *,
        ca_certs: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._given = client
        self._private: AsyncHTTPClient | None = None
        self._ca_certs = ca_certs
        self._timeout = timeout

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask, and return the answer of any status below 500 but 429.

        Raises
        ------
        ProviderUnreachable
            If nobody answered in time.
        ProviderBusy
            If the answer was 5xx or 429.
        """
        request = HTTPRequest(
            url,
            method=method,
            body=body,
            headers=dict(headers or {}),
            connect_timeout=self._timeout,
            request_timeout=self._timeout,
            follow_redirects=False,
            ca_certs=self._ca_certs,
        )
        host = urlsplit(url).netloc
        try:
            response = await self._client().fetch(request, raise_error=False)
        except (HTTPClientError, HTTPInputError, OSError, ValueError) as error:
            # ``from None``: the error's response object could carry a body with tokens.
            raise ProviderUnreachable(
                f"{host} does not answer at the moment.",
                detail=f"{method} {_bare(url)}: {type(error).__name__}: {str(error)[:200]}",
            ) from None
        if response.code >= 500 or response.code == 429:
            raise ProviderBusy(
                f"{host} has a problem at the moment.",
                detail=f"{method} {_bare(url)}: HTTP {response.code}",
                retry_after=_retry_after(response.headers.get("Retry-After")),
            )
        return Answer(response.code, response.body)

    def close(self) -> None:
        """Close the private client, if one was made."""
        if self._private is not None:
            self._private.close()
            self._private = None

    def _client(self) -> AsyncHTTPClient:
        if self._given is not None:
            return self._given
        if self._private is None:
            self._private = AsyncHTTPClient(
                force_instance=True, max_clients=_MAX_CLIENTS, max_body_size=_MAX_BODY
            )
        return self._private


def _bare(url: str) -> str:
    return url.partition("?")[0]


def _retry_after(value: str | None) -> float | None:
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
