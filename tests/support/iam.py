"""A person who logs in at an identity provider, and the client who sent them there.

:class:`Iam` speaks to any provider that shows the testbed's login page: the testbed's own, or one
of :mod:`tests.support.local_iam` on this machine.
"""

from __future__ import annotations

import base64
import hashlib
import http.cookiejar
import json
import os
import secrets
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote_plus, urlencode, urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


LOGIN_SCOPES = ("openid", "profile", "email", "offline_access", "wlcg", "wlcg.groups")
COMPUTE_SCOPES = ("compute.read", "compute.create", "compute.modify", "compute.cancel")
STORAGE_SCOPES = ("storage.read:/", "storage.modify:/")
SCOPES = LOGIN_SCOPES + COMPUTE_SCOPES + STORAGE_SCOPES


class Refused(Exception):
    """The provider said no.

    Attributes
    ----------
    status
        HTTP status.
    said
        The error code of OAuth, or the text of the page.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status
        self.said = said


@dataclass(frozen=True, slots=True)
class Client:
    """A client that is registered at the provider."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str = "https://test.roost.test/callback"
    access_token_ttl: int | None = None

    def registration(self) -> dict[str, Any]:
        """Return this client as the provider's settings want it."""
        ttl = {"access_token_ttl": self.access_token_ttl} if self.access_token_ttl else {}
        return {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "redirect_uris": [self.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        } | ttl


@dataclass(frozen=True, slots=True)
class Tokens:
    """A token endpoint's answer."""

    access_token: str = field(repr=False)
    expires_in: int
    scopes: frozenset[str]
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Tokens:
        """Read the JSON object."""
        return cls(
            access_token=body["access_token"],
            expires_in=body["expires_in"],
            scopes=frozenset(body.get("scope", "").split()),
            refresh_token=body.get("refresh_token"),
            id_token=body.get("id_token"),
            body=body,
        )


def claims(token: str) -> dict[str, Any]:
    """Return a JWT's claims, unverified."""
    part = token.split(".")[1]
    value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return value


class _Page(HTMLParser):
    """A page's first form, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._words: list[str] = []
        self._skip = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._skip = tag in {"style", "script", "title"}
        if tag == "form" and self.action is None:
            self.action = values.get("action") or ""
        elif tag == "input" and values.get("name"):
            self.fields[str(values["name"])] = values.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        self._skip = False

    def handle_data(self, data: str) -> None:
        if not self._skip and data.strip():
            self._words.append(data.strip())

    @property
    def words(self) -> str:
        return " ".join(self._words)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _Reply:
    url: str
    status: int
    location: str | None
    text: str


class Browser:
    """Cookies and single steps; whoever uses it sees every redirect."""

    def __init__(self, ca_file: str | os.PathLike[str]) -> None:
        context = ssl.create_default_context(cafile=os.fspath(ca_file))
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
            _NoRedirect,
        )

    def step(self, url: str, form: Mapping[str, str] | None = None) -> _Reply:
        """Make one request and follow nothing."""
        data = urlencode(form).encode() if form is not None else None
        try:
            response = self._opener.open(urllib.request.Request(url, data=data), timeout=20)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            location = response.headers.get("Location")
            text = response.read().decode("utf-8", "replace")
        return _Reply(url, response.status, urljoin(url, location) if location else None, text)

    def follow(self, url: str, *, until: str) -> _Reply | str:
        """Follow redirects to a page, or to the first URL that starts with ``until``."""
        for _ in range(12):
            reply = self.step(url)
            if reply.location is None:
                return reply
            if reply.location.startswith(until):
                return reply.location
            url = reply.location
        raise Refused(0, "redirected without end")

    def log_in(self, url: str, user: str, password: str, *, until: str) -> str:
        """Open ``url``, fill in the login page if one comes, and return where that ends.

        Raises
        ------
        Refused
            If a page comes instead of the redirect to ``until``; with its words.
        """
        reached = self.follow(url, until=until)
        if isinstance(reached, _Reply) and "username" in _Page(reached.text).fields:
            page = _Page(reached.text)
            form = page.fields | {"username": user, "password": password}
            reply = self.step(urljoin(reached.url, page.action or ""), form)
            if reply.location is None:
                raise Refused(reply.status, _Page(reply.text).words)
            if reply.location.startswith(until):
                return reply.location
            reached = self.follow(reply.location, until=until)
        if isinstance(reached, _Reply):
            raise Refused(reached.status, _Page(reached.text).words)
        return reached


class Iam:
    """An identity provider, as its clients and their users see it.

    Parameters
    ----------
    issuer
        Its URL.
    ca_file
        Whom to trust for it.
    """

    def __init__(self, issuer: str, ca_file: str | os.PathLike[str]) -> None:
        self.issuer = issuer
        self.ca_file = Path(ca_file)
        self._metadata: dict[str, Any] | None = None

    def metadata(self) -> dict[str, Any]:
        """Return the discovery document."""
        if self._metadata is None:
            url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
            self._metadata = json.loads(Browser(self.ca_file).step(url).text)
        return self._metadata

    def login(
        self,
        client: Client,
        user: str,
        password: str,
        *,
        resources: Iterable[str] = (),
        scopes: Iterable[str] = SCOPES,
        nonce: str | None = None,
    ) -> Tokens:
        """Do the whole code flow with PKCE, as a browser and its client would.

        Raises
        ------
        Refused
            By the login page or by the token endpoint.
        """
        state, verifier = secrets.token_urlsafe(16), secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = [
            ("response_type", "code"),
            ("client_id", client.client_id),
            ("redirect_uri", client.redirect_uri),
            ("scope", " ".join(scopes)),
            ("state", state),
            ("nonce", nonce or secrets.token_urlsafe(16)),
            ("code_challenge", challenge.decode().rstrip("=")),
            ("code_challenge_method", "S256"),
            *(("resource", resource) for resource in resources),
        ]
        start = f"{self.metadata()['authorization_endpoint']}?{urlencode(query)}"
        end = Browser(self.ca_file).log_in(start, user, password, until=client.redirect_uri)
        answer = {name: values[0] for name, values in parse_qs(urlsplit(end).query).items()}
        if "code" not in answer or answer.get("state") != state:
            raise Refused(302, answer.get("error", "no code"))
        return self._token(
            client,
            grant_type="authorization_code",
            code=answer["code"],
            redirect_uri=client.redirect_uri,
            code_verifier=verifier,
        )

    def refresh(
        self,
        client: Client,
        refresh_token: str,
        *,
        resource: str | None = None,
        scopes: Iterable[str] | None = None,
    ) -> Tokens:
        """Exchange a refresh token."""
        return self._token(
            client,
            grant_type="refresh_token",
            refresh_token=refresh_token,
            resource=resource,
            scope=" ".join(scopes) if scopes is not None else None,
        )

    def client_credentials(self, client: Client, *, resource: str, scopes: Iterable[str]) -> Tokens:
        """Get a token for the client itself."""
        return self._token(
            client, grant_type="client_credentials", resource=resource, scope=" ".join(scopes)
        )

    def revoke(self, client: Client, token: str) -> None:
        """Revoke a token (RFC 7009)."""
        self._post(client, "revocation_endpoint", {"token": token})

    def _token(self, client: Client, **form: str | None) -> Tokens:
        given = {name: value for name, value in form.items() if value is not None}
        return Tokens.read(json.loads(self._post(client, "token_endpoint", given)))

    def _post(self, client: Client, endpoint: str, form: Mapping[str, str]) -> str:
        pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
        request = urllib.request.Request(
            self.metadata()[endpoint],
            data=urlencode(form).encode(),
            headers={"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()},
        )
        context = ssl.create_default_context(cafile=os.fspath(self.ca_file))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=20) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                said = json.loads(error.read() or b"{}").get("error", "")
            raise Refused(error.code, said) from None
