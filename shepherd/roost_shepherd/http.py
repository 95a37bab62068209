"""One careful way to ask a provider something.

Every call has a time limit and a size limit, follows no redirect (a redirected token request would
carry the client's secret elsewhere), and ends in an answer or in a :class:`~.errors.Transient`.

Connections are kept for the next call: to make one costs more than all the rest of a renewal.  A
POST whose connection breaks is never sent again from here: the refresh token in it may be used up,
and to show it twice ends the grant (RFC 9700, section 4.14.2).  aiohttp sends again only what is
idempotent (RFC 9110, section 9.2.2); a test holds it to that.
"""

from __future__ import annotations

import email.utils
import json
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from roost_shepherd.errors import BadSetting, ProviderBusy, ProviderUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_BODY = 4 * 1024 * 1024
_MAX_CONNECTIONS = 32
_KEEP_IDLE = 4.0
"""Seconds that an idle connection is kept.  Node closes it after 5, Tomcat after 20, nginx after
75; who closes first cannot be left with a question on a connection that the other side gave up."""
_LOOK_AGAIN = 10.0  # seconds between two looks at the file of CAs
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


def require_proxy(url: str, what: str) -> str:
    """Return ``url`` if it names an HTTP proxy, or is empty.

    Raises
    ------
    BadSetting
        Without the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/")
    except ValueError:
        usable, parts = False, urlsplit("")
    if url and not (usable and parts.scheme in ("http", "https") and not parts.query):
        raise BadSetting(
            f"{what} must be the URL of an HTTP proxy, such as http://proxy.example.org:3128, with "
            "user:password@ before the host if it wants them."
        )
    return url


class HttpClient:
    """A client with connections of its own, which it makes at first use.

    Its own, because a shared one has so many places: a provider that hangs would fill them and
    stall everything else that the hub asks for.

    Parameters
    ----------
    ca_certs
        File of CA certificates in PEM form, if not the system's.
    timeout
        Seconds for one whole call.
    http_proxy
        URL of the HTTP proxy that leads to the other side, if one does.  TLS goes through it
        (CONNECT; RFC 9110, section 9.3.6) and is verified as without.  The environment's proxies
        are not asked.
    """

    def __init__(
        self, *, ca_certs: str | None = None, timeout: float = 10.0, http_proxy: str | None = None
    ) -> None:
        self._proxy = require_proxy(http_proxy or "", "The proxy") or None
        self._session: aiohttp.ClientSession | None = None
        self._ca_certs = ca_certs
        self._timeout = timeout
        self._tls: ssl.SSLContext | None = None
        self._tls_of: tuple[int, int] | None = None
        self._look_at = 0.0

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
        host = urlsplit(url).netloc
        try:
            async with self._open().request(
                method,
                url,
                data=None if body is None else body.encode(),
                headers=headers,
                allow_redirects=False,
                ssl=self._context(),
                proxy=self._proxy,
            ) as response:
                content = await _read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # ``from None``: the error could carry an answer with tokens.
            raise ProviderUnreachable(
                f"{host} does not answer at the moment.",
                detail=f"{method} {_bare(url)}: {_told(error)}",
            ) from None
        if response.status >= 500 or response.status == 429:
            raise ProviderBusy(
                f"{host} has a problem at the moment.",
                detail=f"{method} {_bare(url)}: HTTP {response.status}",
                retry_after=_retry_after(response.headers.get("Retry-After")),
            )
        return Answer(response.status, content)

    async def close(self) -> None:
        """Close its connections; the next call makes new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _context(self) -> ssl.SSLContext | bool:
        """Return what the site's own CAs make of TLS; True leaves it to the system's.

        Made once for each state of the file.  A connection is used again only with the context
        that it was made with.
        """
        if self._ca_certs is None:
            return True
        if self._tls is None or time.monotonic() >= self._look_at:
            now = Path(self._ca_certs).stat()
            state = (now.st_mtime_ns, now.st_size)
            if self._tls is None or self._tls_of != state:
                self._tls = ssl.create_default_context(cafile=self._ca_certs)
                self._tls_of = state
            self._look_at = time.monotonic() + _LOOK_AGAIN
        return self._tls

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=_MAX_CONNECTIONS,
                    keepalive_timeout=_KEEP_IDLE,
                    # Names are what the machine says they are, not what a DNS library finds.
                    resolver=aiohttp.ThreadedResolver(),
                ),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity", "User-Agent": "Roost"},
            )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body.  Raises ``ValueError`` if it is too long."""
    content = bytearray()
    async for part in response.content.iter_any():
        content += part
        if len(content) > _MAX_BODY:
            raise ValueError("the answer is too long")
    return bytes(content)


def _told(error: Exception) -> str:
    """Return what a log may hold: the kind, and the system's words, but none of the provider's."""
    kind = type(error).__name__
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"{kind}: the proxy answered HTTP {error.status}"
    return f"{kind}: {str(error)[:200]}" if isinstance(error, OSError) else kind


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
