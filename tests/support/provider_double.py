"""A stateful OpenID provider over real local HTTP, that can be told to misbehave.

It rotates refresh tokens and ends a grant when an old one comes again (RFC 9700, 4.14.2), as npm
oidc-provider does, and speaks INDIGO IAM's error texts.  Signatures are made here, with
``cryptography`` alone, and not by the code under test.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(max(size, (value.bit_length() + 7) // 8), "big"))


class SigningKey:
    """A key that signs compact JWS by RFC 7515, written out."""

    def __init__(self, kid: str, alg: str = "RS256", bits: int = 2048) -> None:
        self.kid, self.alg = kid, alg
        self.private: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if alg.startswith("ES")
            else rsa.generate_private_key(65537, bits)
        )

    def jwk(self) -> dict[str, Any]:
        public = self.private.public_key().public_numbers()
        common = {"kid": self.kid, "use": "sig", "alg": self.alg}
        if self.alg.startswith("ES"):
            x, y = number(public.x, 32), number(public.y, 32)
            return common | {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        return common | {"kty": "RSA", "n": number(public.n), "e": number(public.e)}

    def signature(self, data: bytes) -> bytes:
        if self.alg == "ES256":
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        if self.alg == "PS256":
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            return bytes(self.private.sign(data, pss, hashes.SHA256()))
        return bytes(self.private.sign(data, padding.PKCS1v15(), hashes.SHA256()))

    def token(self, claims: dict[str, Any], **header: Any) -> str:
        head = {"alg": self.alg, "kid": self.kid, "typ": "JWT"} | header
        head = {name: value for name, value in head.items() if value is not None}
        data = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{data}.{b64(self.signature(data.encode()))}"


@dataclass
class Grant:
    subject: str
    refresh_token: str
    used: set[str] = field(default_factory=set)
    alive: bool = True


class ProviderDouble:
    """Start it with ``await start()``; change its attributes to make it misbehave."""

    client_id = "roost hub"
    client_secret = "s3cr+t/ä%"

    def __init__(self) -> None:
        self.keys = [SigningKey("k1")]
        self.grants: list[Grant] = []
        self.lifetime: float = 120
        self.rotates = True
        self.delay = 0.0
        self.answers = asyncio.Event()  # cleared, it answers nobody
        self.answers.set()
        self.metadata: dict[str, Any] = {}  # more of it
        self.fail: Any = None  # (status, body or dict, headers) for the token endpoint
        self.jwks_fail = False
        self.lose_answer = False  # rotate, then close the connection
        self.refused_audiences: set[str] = set()
        self.given_scopes: set[str] | None = None  # None: all that were asked for
        self.refreshes: list[dict[str, str]] = []
        self.revoked: list[str] = []
        self.issued: list[str] = []  # every secret that ever left, for the searches
        self.jwks_fetches = 0
        self.most_at_once = 0
        self._now_in = 0
        self._server: HTTPServer | None = None
        self.port = 0

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def handlers(self) -> list[tuple[str, type[RequestHandler]]]:
        return [
            (r"/\.well-known/openid-configuration", _Discovery),
            (r"/jwk", _Keys),
            (r"/token", _Token),
            (r"/revoke", _Revoke),
        ]

    async def start(self) -> None:
        own = {"double": self}
        app = Application(
            [(*handler, own) for handler in self.handlers()],
            log_function=lambda _handler: None,
        )
        sockets = bind_sockets(self.port, "127.0.0.1", reuse_port=False)
        self.port = sockets[0].getsockname()[1]
        self._server = HTTPServer(app)
        self._server.add_sockets(sockets)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()
            self._server = None

    async def asked(self, times: int = 1) -> None:
        """Wait until so many wait for an answer."""
        async with asyncio.timeout(30):
            while self._now_in < times:  # noqa: ASYNC110 - requests are no events
                await asyncio.sleep(0.01)

    def login(self, subject: str = "1111-alice") -> Grant:
        grant = Grant(subject, self._refresh_token())
        self.grants.append(grant)
        return grant

    def claims(self, subject: str, audience: str | None, scopes: str) -> dict[str, Any]:
        now = time.time()
        return {
            "iss": self.issuer,
            "sub": subject,
            "aud": audience or "https://wlcg.cern.ch/jwt/v1/any",
            "iat": int(now),
            "nbf": int(now),
            "exp": now + self.lifetime,
            "scope": scopes,
            "jti": secrets.token_hex(8),
        }

    def answer(self, subject: str, form: dict[str, str]) -> dict[str, Any]:
        asked = set(form.get("scope", "").split())
        given = asked if self.given_scopes is None else asked & self.given_scopes
        scope = " ".join(sorted(given))
        audience = form.get("resource") or form.get("audience")
        token = self.keys[0].token(self.claims(subject, audience, scope))
        self.issued.append(token)
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "scope": scope,
        }

    def refresh(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        shown = form["refresh_token"]
        self.refreshes.append(form)
        for grant in self.grants:
            if shown in grant.used:
                grant.alive = False  # taken for stolen
            if shown == grant.refresh_token and grant.alive:
                if form.get("resource") in self.refused_audiences:
                    return 400, {"error": "invalid_target"}
                body = self.answer(grant.subject, form)
                if self.rotates:
                    grant.used.add(shown)
                    grant.refresh_token = self._refresh_token()
                body["refresh_token"] = grant.refresh_token
                return 200, body
        text = f"Invalid refresh token: {shown}"
        return 400, {"error": "invalid_grant", "error_description": text}

    def known_client(self, header: str) -> bool:
        scheme, _, value = header.partition(" ")
        name, _, secret = base64.b64decode(value).decode().partition(":")
        pair = (unquote_plus(name), unquote_plus(secret))
        return scheme == "Basic" and pair == (self.client_id, self.client_secret)

    def _refresh_token(self) -> str:
        # As IAM's: an unsigned JWT that tells its own end.
        payload = {"exp": int(time.time()) + 2592000, "jti": secrets.token_hex(16)}
        head = b64(json.dumps({"alg": "none"}).encode())
        token = f"{head}.{b64(json.dumps(payload).encode())}."
        self.issued.append(token)
        return token


class _Base(RequestHandler):
    double: ProviderDouble

    def initialize(self, double: ProviderDouble) -> None:
        self.double = double

    def form(self) -> dict[str, str]:
        return {name: self.get_body_argument(name) for name in self.request.body_arguments}


class _Discovery(_Base):
    def get(self) -> None:
        base = self.double.issuer
        self.write(
            {
                "issuer": base,
                "authorization_endpoint": base + "authorize",
                "token_endpoint": base + "token",
                "jwks_uri": base + "jwk",
                "revocation_endpoint": base + "revoke",
            }
            | self.double.metadata
        )


class _Keys(_Base):
    def get(self) -> None:
        self.double.jwks_fetches += 1
        if self.double.jwks_fail:
            self.set_status(503)
            return
        self.write({"keys": [{"kty": "oct", "k": "AA"}, *(k.jwk() for k in self.double.keys)]})


class _Token(_Base):
    async def post(self) -> None:
        double = self.double
        double._now_in += 1
        double.most_at_once = max(double.most_at_once, double._now_in)
        try:
            await self._post()
        finally:
            double._now_in -= 1

    async def _post(self) -> None:
        double, form = self.double, self.form()
        if not double.known_client(self.request.headers.get("Authorization", "")):
            self.set_status(401)
            self.write({"error": "invalid_client"})
            return
        if double.delay:
            await asyncio.sleep(double.delay)
        await double.answers.wait()
        if double.fail is not None:
            status, body, headers = double.fail
            double.refreshes.append(form)
            self.set_status(status)
            for name, value in headers.items():
                self.set_header(name, value)
            self.write(body)
            return
        if form["grant_type"] == "client_credentials":
            double.refreshes.append(form)
            self.write(double.answer(double.client_id, form))
            return
        status, answer = double.refresh(form)
        if double.lose_answer:
            self.request.connection.stream.close()  # type: ignore[union-attr]
            return
        self.set_status(status)
        self.write(answer)


class _Revoke(_Base):
    def post(self) -> None:
        token = self.get_body_argument("token")
        self.double.revoked.append(token)
        for grant in self.double.grants:
            if token == grant.refresh_token:
                grant.alive = False
