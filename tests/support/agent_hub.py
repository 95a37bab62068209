"""A double of the hub's side of the handoff, and of HTCondor's starter, for the real agent."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import ssl
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from roost_spawner.bootstrap import agent_source, bootstrap_code
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SESSION = "0" * 32
SERVER_TOKEN = "server-token-not-for-others"

SERVER = """
import http.server, json, os, sys, urllib.parse
url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
mode = sys.argv[1] if len(sys.argv) > 1 else ""
print("server starts with", os.environ["JUPYTERHUB_API_TOKEN"], flush=True)
if mode == "killed":
    os.kill(os.getpid(), 9)
if mode == "crash":
    for number in range(30):
        print("line", number)
    sys.exit(3)
if mode == "beaten" and not os.path.exists("beaten"):
    import socket, time
    open("beaten", "w").close()
    faster = socket.socket()
    faster.bind(("", url.port))
    faster.listen()
    if os.fork() == 0:  # another program, which had the port before the server
        time.sleep(6)
        os._exit(0)
    sys.exit(98)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.endswith("/quit"):
            os._exit(0)
        body = json.dumps({"env": dict(os.environ), "cwd": os.getcwd()}).encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.HTTPServer(("", url.port), Handler)
if url.scheme == "https":
    import ssl
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=os.environ["JUPYTERHUB_SSL_CLIENT_CA"])
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(
        os.environ["JUPYTERHUB_SSL_CERTFILE"], os.environ["JUPYTERHUB_SSL_KEYFILE"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Return certificate and key of `localhost`, which signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    crt, pem = directory / "hub.crt", directory / "hub.key"
    crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return crt, pem


@dataclass
class HubDouble:
    """What the agent calls; the answers can be changed while it runs."""

    directory: Path
    tls: bool = False
    source: bytes = field(default_factory=lambda: agent_source()[0])
    server_mode: str = ""
    ports: list[int] | None = None
    cwd: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """More of the bundle."""
    env: dict[str, str] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What else to answer, by call."""
    delays: dict[str, float] = field(default_factory=dict)
    """Seconds before an answer, by call."""
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """Statuses to answer first, by call."""
    token_life: float = 100.0
    calls: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    user_agents: set[str] = field(default_factory=set)
    renewals: int = 0
    reshape: Callable[[dict[str, Any]], dict[str, Any]] = lambda bundle: bundle
    """What the hub does to a bundle for an older agent."""

    def __post_init__(self) -> None:
        socket, self.port = bind_unused_port(address="127.0.0.1")
        context = None
        self.certificate = None
        if self.tls:
            self.certificate, key = make_certificate(self.directory)
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.certificate, key)
        double = self

        class Source(web.RequestHandler):
            def get(self, sha256: str) -> None:
                self.finish(double.source)

        class Call(web.RequestHandler):
            async def post(self, session: str, what: str) -> None:
                body = json.loads(self.request.body)
                double.user_agents.add(self.request.headers.get("User-Agent", ""))
                double.calls.append((what, body, self.request.headers.get("Authorization", "")))
                await asyncio.sleep(double.delays.get(what, 0.0))
                waiting = double.statuses.get(what)
                status = waiting.pop(0) if waiting else 200
                self.set_status(status)
                if status != 200:
                    self.finish({"status": status, "message": f"told to say {status}"})
                elif what == "bundle":
                    self.finish(double.reshape(double.bundle()))
                elif what == "tokens":
                    double.renewals += 1
                    self.finish({"tokens": double.tokens(), **double.answers.get(what, {})})
                else:
                    self.finish(double.answers.get(what, {}))

        application = web.Application(
            [
                (r"/hub/api/roost/v1/agent/([0-9a-f]+)\.py", Source),
                (r"/hub/api/roost/v1/sessions/([0-9a-f]+)/(\w+)", Call),
            ]
        )
        self.server = HTTPServer(application, ssl_options=context)
        self.server.add_sockets([socket])

    @property
    def api(self) -> str:
        """The handoff's base URL."""
        scheme = "https" if self.tls else "http"
        return f"{scheme}://localhost:{self.port}/hub/api/roost/v1/"

    def tokens(self) -> dict[str, Any]:
        """Return a set of tokens, new each time."""
        value = {
            "value": f"access-token-{self.renewals}",
            "expires_at": time.time() + self.token_life,
            "refresh_in": self.token_life * 2 / 3,
        }
        return {"default": value, "storage": value | {"value": f"storage-{self.renewals}"}}

    def bundle(self) -> dict[str, Any]:
        """Return what starts the small server."""
        return {
            "argv": [sys.executable, "-c", SERVER, self.server_mode],
            "env": {
                "JUPYTERHUB_API_TOKEN": SERVER_TOKEN,
                "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:0/user/alice/",
                **self.env,
            },
            "ports": self.ports,
            "cwd": self.cwd,
            "tokens": self.tokens(),
            "grace": 1,
            **self.extra,
        }

    async def run(
        self, *, pin: str = "", ticket: str = "", cwd: Path | None = None, **env: str
    ) -> asyncio.subprocess.Process:
        """Start the bootstrap in a process of its own."""
        code = bootstrap_code(self.api, SESSION, pin or agent_source()[1])
        if ticket:
            code = f"ticket = {ticket!r}\n{code}"
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        clean = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(self.directory)}
        if self.certificate:
            clean["SSL_CERT_FILE"] = str(self.certificate)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-c",
            code,
            env=clean | env,
            cwd=cwd,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def call(self, what: str, number: int = 1, limit: float = 15) -> dict[str, Any]:
        """Wait for a call and return its body."""
        until = time.monotonic() + limit
        while True:
            found = [body for name, body, _ in self.calls if name == what]
            if len(found) >= number:
                return found[number - 1]
            if time.monotonic() > until:
                raise AssertionError(f"no call {what!r} number {number} among {self.calls}")
            await asyncio.sleep(0.02)


class ChirpDouble:
    """The starter's end of the chirp channel."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.cookie = "cookie-of-the-job"
        self.attributes: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        (self.scratch / ".chirp.config").write_text(f"127.0.0.1 {port} {self.cookie}\n")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        known = False
        while line := (await reader.readline()).decode().split():
            if line[0] == "cookie":
                known = line[1] == self.cookie
            elif line[0] == "set_job_attr" and known:
                self.attributes[line[1]] = line[2]
            writer.write(b"0\n" if known else b"-1\n")
            await writer.drain()
        writer.close()
