"""The identity provider of this measurement, a process of its own behind TLS.

It rotates refresh tokens and ends a grant whose used one comes again.  Arguments: folder (with
host.key and host.crt; gets grants.json), number of grants, seconds that a token lives.  Prints its
port.  ``GET /bench`` tells when each grant was refreshed, and what was shown twice.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.support.provider_double import Grant, ProviderDouble, _Discovery, _Keys, _Token


class Provider(ProviderDouble):
    """The tests' double, with TLS, and with a look-up that does not grow with the grants."""

    def __init__(self, folder: Path, count: int, life: float) -> None:
        super().__init__()
        self.folder, self.lifetime = folder, life
        self.current: dict[str, Grant] = {}
        self.used: dict[str, Grant] = {}
        self.reused = 0
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        for number in range(count):
            grant = self.login(f"subject-{number}")
            self.current[grant.refresh_token] = grant

    @property
    def issuer(self) -> str:
        return f"https://localhost:{self.port}/"

    def refresh(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        shown = form["refresh_token"]
        if shown in self.used:
            self.reused += 1
            self.used[shown].alive = False
        grant = self.current.get(shown)
        if grant is None or not grant.alive:
            return 400, {"error": "invalid_grant"}
        body = self.answer(grant.subject, form)
        self.issued.clear()
        del self.current[shown]
        self.used[shown] = grant
        grant.refresh_token = self._refresh_token()
        self.current[grant.refresh_token] = grant
        self.times[grant.subject].append(time.time())
        return 200, body | {"refresh_token": grant.refresh_token}

    async def start(self) -> None:
        own = {"double": self}
        handlers = [
            (r"/\.well-known/openid-configuration", _Discovery, own),
            (r"/jwk", _Keys, own),
            (r"/token", _Token, own),
            (r"/bench", _Bench, own),
        ]
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / "host.crt", self.folder / "host.key")
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        server = HTTPServer(
            Application(handlers, log_function=lambda _handler: None), ssl_options=context
        )
        server.add_sockets(sockets)


class _Bench(RequestHandler):
    def initialize(self, double: Provider) -> None:
        self.double = double

    def get(self) -> None:
        self.write({"times": self.double.times, "reused": self.double.reused})


async def main() -> None:
    folder, count, life = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    provider = Provider(folder, count, life)
    tokens = {grant.subject: grant.refresh_token for grant in provider.grants}
    (folder / "grants.json").write_text(json.dumps(tokens))
    await provider.start()
    print(provider.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
