"""A person at a browser, without the browser: logs in, starts a session, runs a cell.

Speaks what a browser speaks (redirects, cookies, forms, the progress stream, web sockets), so that
the demo, the pool tests and the benchmarks take the same way in as a user does.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import uuid
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin

import aiohttp
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

PROXYS_WORD = 'content="roost proxy"'
"""Stands on the page that the proxy shows where neither hub nor server answers."""
_PATIENCE, _PAUSE = 3.0, 0.2
"""Seconds for which the proxy is asked again, as its page does it in a browser."""


class Refused(Exception):
    """A page said no; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A session that answers.

    Attributes
    ----------
    url
        Base URL of the single-user server, with a trailing slash.
    seconds
        From the click to the progress stream's *ready*.
    messages
        What the pending page said on the way.
    said_at
        Seconds from the click to each of them.
    """

    url: str
    seconds: float
    messages: tuple[str, ...]
    said_at: tuple[float, ...] = ()


class _Form(HTMLParser):
    """The first form of a page: where it goes and what it already holds."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside = False
        self._script = False
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._script = tag in {"script", "style"}
        if tag == "form" and self.action is None:
            self.action, self._inside = values.get("action") or "", True
        elif tag == "input" and self._inside and values.get("name"):
            self.fields[str(values["name"])] = values.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        self._script = False
        if tag == "form":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._script:
            self.text.append(data.strip())


async def ask_again(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Send a request, and again for a while if the proxy alone answers it (an aiohttp middleware).

    A request that nobody has taken changes nothing, whatever its method.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        response = await handler(request)
        if response.status != 503 or time.monotonic() > until:
            return response
        if PROXYS_WORD not in await response.text():
            return response
        await asyncio.sleep(_PAUSE)


class Person:
    """One user with a cookie jar.

    Parameters
    ----------
    name, password
        As at the identity provider.
    hub
        Public URL of the hub, with or without a trailing slash.
    ca_file
        Whom to trust for hub and provider.
    """

    def __init__(
        self, name: str, password: str, *, hub: str, ca_file: str, keep_alive: bool = True
    ) -> None:
        self.name = name
        self._password = password
        self.hub = hub.rstrip("/") + "/"
        context = ssl.create_default_context(cafile=ca_file)
        self._http = aiohttp.ClientSession(
            # The threaded resolver asks as every program here does: /etc/hosts has the names.
            connector=aiohttp.TCPConnector(
                ssl=context, resolver=aiohttp.ThreadedResolver(), force_close=not keep_alive
            ),
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # some hubs are known by address only
            timeout=aiohttp.ClientTimeout(total=60),
            middlewares=[ask_again],
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    # -- login ---------------------------------------------------------------------------------

    async def login(self) -> None:
        """Log in through the identity provider's page."""
        await self.log_in_at_form(self.hub + "hub/oauth_login")

    async def log_in_at_form(self, url: str) -> None:
        """Fill in the login form that `url` leads to; no form is needed where one is known.

        Raises
        ------
        Refused
            If that does not end inside the hub.
        """
        async with self._http.get(url) as response:
            page, at = await response.text(), str(response.url)
        if at.startswith(self.hub) and at.partition("?")[0] != url:
            return
        form = _Form()
        form.feed(page)
        fields = form.fields | {"username": self.name, "password": self._password}
        target = urljoin(at, form.action or "")
        async with self._http.post(target, data=fields, headers={"Referer": at}) as response:
            page, at, status = await response.text(), str(response.url), response.status
        if not at.startswith(self.hub) or status >= 400:
            said = _Form()
            said.feed(page)
            raise Refused(f"login of {self.name} ended at {at} ({status}): {' '.join(said.text)}")

    def _xsrf(self, url: str) -> dict[str, str]:
        cookie = self._http.cookie_jar.filter_cookies(URL(url)).get("_xsrf")
        return {"X-XSRFToken": cookie.value} if cookie else {}

    async def api(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Any]:
        """Call the hub's REST API as this person; return the status and the decoded answer."""
        url = urljoin(self.hub, f"hub/api/{path}")
        headers = self._xsrf(self.hub + "hub/") | {"Referer": self.hub + "hub/home"}
        async with self._http.request(method, url, json=body, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    # -- a session -----------------------------------------------------------------------------

    def server_url(self, server: str = "") -> str:
        """Return the base URL of one of this person's servers."""
        return self.hub + f"user/{self.name}/" + (f"{server}/" if server else "")

    async def click(self, options: Mapping[str, str], *, server: str = "") -> float:
        """Fill in the spawn page's form and send it; return when, by the monotonic clock."""
        url = self.hub + f"hub/spawn/{self.name}" + (f"/{server}" if server else "")
        async with self._http.get(url) as response:
            page = await response.text()
            if response.status >= 400:
                raise Refused(f"the spawn page answered {response.status}")
        form = _Form()
        form.feed(page)
        cookie = self._xsrf(url).get("X-XSRFToken", "")
        data = dict(options) | {"_xsrf": cookie}
        clicked = time.monotonic()
        async with self._http.post(
            url, data=data, headers={"Referer": url}, allow_redirects=False
        ) as response:
            if response.status != 302:
                said = _Form()
                said.feed(await response.text())
                raise Refused(f"spawn answered {response.status}: {' '.join(said.text)}")
        return clicked

    async def progress(self, *, server: str = "") -> AsyncIterator[dict[str, Any]]:
        """Yield the pending page's events until the server is ready or has failed."""
        path = f"servers/{server}/progress" if server else "server/progress"
        url = self.hub + f"hub/api/users/{self.name}/{path}"
        headers = {"Referer": self.hub + "hub/home"}
        limit = aiohttp.ClientTimeout(total=600)
        async with self._http.get(url, headers=headers, timeout=limit) as response:
            if response.status != 200:
                raise Refused(f"the progress stream answered {response.status}")
            async for line in response.content:
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    yield event
                    if event.get("ready") or event.get("failed"):
                        return

    async def start(self, profile: str, *, server: str = "", **options: str) -> Ready:
        """Start a session and wait until it is ready.

        Raises
        ------
        Refused
            If it fails; with the last message of the pending page.
        """
        clicked = await self.click({"profile": profile} | options, server=server)
        messages: list[str] = []
        said_at: list[float] = []
        async for event in self.progress(server=server):
            messages.append(event.get("message", ""))
            said_at.append(time.monotonic() - clicked)
            if event.get("failed"):
                raise Refused(messages[-1])
            if event.get("ready"):
                url = self.server_url(server)
                return Ready(url, said_at[-1], tuple(messages), tuple(said_at))
        raise Refused("the progress stream ended early: " + " / ".join(messages[-3:]))

    async def enter(self, server: str = "") -> int:
        """Open JupyterLab, which signs this person in at the server; return the HTTP status."""
        async with self._http.get(self.server_url(server) + "lab") as response:
            await response.read()
            return response.status

    async def stop(self, server: str = "", *, limit: float = 90) -> None:
        """Stop a server and wait until the hub says that it is gone."""
        path = f"users/{self.name}/servers/{server}" if server else f"users/{self.name}/server"
        status, answer = await self.api("DELETE", path)
        if status >= 400 and status != 404:
            raise Refused(f"stop answered {status}: {answer}")
        until = time.monotonic() + limit
        while time.monotonic() < until:
            _, user = await self.api("GET", f"users/{self.name}")
            if server not in (user.get("servers") or {}):
                return
            await asyncio.sleep(0.2)
        raise Refused(f"the server was not gone after {limit:.0f} s")

    # -- inside --------------------------------------------------------------------------------

    async def server_api(
        self, method: str, path: str, *, server: str = "", body: Any = None
    ) -> tuple[int, Any]:
        """Call the single-user server's REST API."""
        base = self.server_url(server)
        headers = self._xsrf(base) | {"Referer": base + "lab"}
        async with self._http.request(
            method, base + f"api/{path}", json=body, headers=headers
        ) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def run(self, *cells: str, server: str = "", limit: float = 60) -> list[str]:
        """Run cells in a new kernel, as JupyterLab does, and return the text that each printed.

        Raises
        ------
        Refused
            If a cell raises; with its traceback's last line.
        """
        await self.enter(server)
        status, kernel = await self.server_api("POST", "kernels", server=server, body={})
        if status != 201:
            raise Refused(f"no kernel: {status} {kernel}")
        base = self.server_url(server)
        try:
            async with self._http.ws_connect(
                base + f"api/kernels/{kernel['id']}/channels",
                headers=self._xsrf(base) | {"Origin": self.hub.rstrip("/")},
            ) as socket:
                return [
                    await asyncio.wait_for(self._execute(socket, cell), limit) for cell in cells
                ]
        finally:
            await self.server_api("DELETE", f"kernels/{kernel['id']}", server=server)

    @staticmethod
    async def _execute(socket: aiohttp.ClientWebSocketResponse, code: str) -> str:
        # The messaging protocol of Jupyter's kernels: an execute_request on the shell channel, its
        # output on iopub, and the end of it is the status `idle` for the same parent.
        request = uuid.uuid4().hex
        header = {
            "msg_id": request,
            "msg_type": "execute_request",
            "username": "",
            "session": uuid.uuid4().hex,
            "version": "5.3",
            "date": "",
        }
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        await socket.send_json(
            {
                "header": header,
                "parent_header": {},
                "metadata": {},
                "content": content,
                "channel": "shell",
                "buffers": [],
            }
        )
        printed: list[str] = []
        failure = None
        async for frame in socket:
            message = json.loads(frame.data)
            if message.get("parent_header", {}).get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                printed.append(content["text"])
            elif kind in {"execute_result", "display_data"}:
                printed.append(str(content["data"].get("text/plain", "")) + "\n")
            elif kind == "error":
                failure = f"{content['ename']}: {content['evalue']}"
            elif kind == "status" and content["execution_state"] == "idle":
                if failure:
                    raise Refused(failure)
                return "".join(printed).strip()
        raise Refused("the kernel's connection closed")
