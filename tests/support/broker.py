"""The testbed's Slurm broker, asked from a host as the hub would ask it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.iam import Client, Iam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from testbed.layout import Site

SCOPES = ("compute.read", "compute.create", "compute.cancel")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the broker answered."""

    status: int
    body: dict[str, Any]
    headers: str = field(repr=False)

    @property
    def error(self) -> str:
        """The sentence of a refusal."""
        return str(self.body.get("error", ""))


class BrokerTalk:
    """Tokens from the testbed's IAM, and requests to its broker.

    Parameters
    ----------
    site
        The testbed, up.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.iam = Iam(site.issuer, site.folders.ca_certificate)
        self._refresh: dict[tuple[str, str], str] = {}

    def client(self, client_id: str) -> Client:
        """Return a client that is registered at the IAM."""
        return Client(client_id, self.site.secret(f"iam-client-{client_id}"))

    def token(
        self,
        user: str,
        *,
        scopes: Iterable[str] = SCOPES,
        audience: str | None = None,
        client_id: str = "roost-test",
    ) -> str:
        """Return an access token of a user, made out to the broker."""
        client, key = self.client(client_id), (client_id, user)
        if key not in self._refresh:
            password = next(p.password for p in self.site.people if p.name == user)
            everywhere = [
                self.site.ap_audience,
                self.site.broker_audience,
                self.site.storage_audience,
            ]
            first = self.iam.login(client, user, password, resources=everywhere)
            assert first.refresh_token
            self._refresh[key] = first.refresh_token
        resource = audience or self.site.broker_audience
        new = self.iam.refresh(client, self._refresh[key], resource=resource, scopes=scopes)
        self._refresh[key] = new.refresh_token or self._refresh[key]
        return new.access_token

    def watcher(self, scopes: Iterable[str] = ("compute.read",)) -> str:
        """Return the hub's own token."""
        return self.iam.client_credentials(
            self.client("roost-hub"), resource=self.site.broker_audience, scopes=scopes
        ).access_token

    def ask(self, method: str, path: str, token: str | None = None, body: object = None) -> Reply:
        """Make one request from the hub's host; the token goes through curl's standard input."""
        lines = [
            f'url = "{self.site.broker_url}{path}"',
            f'request = "{method}"',
            "silent",
            "show-error",
            "include",
            "http1.1",
            "max-time = 40",
        ]
        if token is not None:
            lines.append(f'header = "Authorization: Bearer {token}"')
        if body is not None:
            content = body if isinstance(body, str) else json.dumps(body)
            quoted = content.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            lines += [f'data-binary = "{quoted}"', 'header = "Content-Type: application/json"']
        done = self.site.hosts["hub"].run(
            ["curl", "--config", "-"], input="\n".join(lines) + "\n", timeout=60
        )
        head, _, content = done.stdout.replace("\r\n", "\n").partition("\n\n")
        return Reply(int(head.split()[1]), json.loads(content) if content.strip() else {}, head)

    def wish(self, script: str, *, mark: str, **change: object) -> dict[str, object]:
        """Return the body of a small submit."""
        body: dict[str, object] = {
            "script": f"#!/bin/sh\n{script}\n",
            "mark": mark,
            "partition": "gpu",
            "cpus": 1,
            "memory_mib": 256,
            "time_minutes": 5,
        }
        return body | change

    def until(
        self,
        job_id: str,
        good: Callable[[dict[str, Any]], bool],
        *,
        token: Callable[[], str],
        timeout: float = 30,
    ) -> dict[str, Any]:
        """Look at a job until it is as wanted, and return it."""
        end = time.monotonic() + timeout
        shown = token()
        while True:
            reply = self.ask("GET", f"/v1/jobs/{job_id}", shown)
            if reply.status == 200 and good(reply.body):
                return reply.body
            assert time.monotonic() < end, f"job {job_id} is not as wanted: {reply}"
            time.sleep(0.2)
