"""The identity provider: npm's oidc-provider, shaped like INDIGO IAM's WLCG profile."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from testbed.probe import https_status
from testbed.services.base import Service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testbed.host import Host
    from testbed.layout import Person, Site


def clients(site: Site, lifetime: int | None = None) -> list[dict[str, object]]:
    """Return the clients that are registered at the provider, with their secrets.

    `lifetime` is that of the hub's access tokens, in seconds, if not the provider's short one.
    """
    login = ["authorization_code", "refresh_token"]
    test = "https://test.roost.test/callback"
    rows: list[tuple[str, str, list[str], int | None]] = [
        (
            "roost-hub",
            f"{site.hub_url}/hub/oauth_callback",
            [*login, "client_credentials"],
            lifetime,
        ),
        ("roost-test", test, login, None),
        ("roost-test-short", test, login, 20),
    ]
    return [
        {
            "client_id": name,
            "client_secret": site.secret(f"iam-client-{name}"),
            "redirect_uris": [redirect],
            "grant_types": grants,
        }
        | ({"access_token_ttl": seconds} if seconds else {})
        for name, redirect, grants, seconds in rows
    ]


def begin(
    site: Site,
    host: Host,
    *,
    lifetime: int | None = None,
    people: Sequence[Person] | None = None,
) -> None:
    """Write the provider's files and start it.

    Parameters
    ----------
    lifetime
        As in :func:`clients`.
    people
        Who has an account; those of ``people.json`` if left out.
    """
    host.run(["install", "-d", "-m", "700", "-o", "iam", "/etc/iam", "/var/lib/iam"])
    for name in ("host.key", "host.crt"):
        host.write(f"/etc/iam/{name}", host.read(f"/etc/roost/tls/{name}"), owner="iam", mode=0o600)
    host.write(
        "/etc/iam/clients.json", json.dumps(clients(site, lifetime)), owner="iam", mode=0o600
    )
    known = "/srv/roost/testbed/people.json"
    if people is not None:
        known = "/etc/iam/people.json"
        text = json.dumps([asdict(person) for person in people])
        host.write(known, text, owner="iam", mode=0o600)
    host.spawn(
        "iam",
        ["node", "/srv/roost/testbed/iam/server.mjs"],
        user="iam",
        env={
            "IAM_ISSUER": site.issuer,
            "IAM_PORT": "8443",
            "IAM_TLS_KEY": "/etc/iam/host.key",
            "IAM_TLS_CERT": "/etc/iam/host.crt",
            "IAM_PEOPLE": known,
            "IAM_CLIENTS": "/etc/iam/clients.json",
            "IAM_KEYS": "/var/lib/iam/keys.json",
            "IAM_STATE": "/var/lib/iam/state.json",
            "IAM_MODULES": "/opt/npm/node_modules",
        },
    )


def services(site: Site) -> list[Service]:
    """Return the provider's one service."""

    def start(host: Host) -> None:
        begin(site, host)

    def ready(host: Host) -> bool:
        path = "/.well-known/openid-configuration"
        return host.alive("iam") and https_status(site.folders, "iam", path) == 200

    return [Service("iam", "iam", start, ready)]
