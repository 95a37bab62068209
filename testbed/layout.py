"""Names, addresses and folders: what the testbed looks like, as data."""

from __future__ import annotations

import json
import os
import secrets
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.host import Host

NAME = os.environ.get("ROOST_TESTBED_NAME", "roost")
"""Which testbed: one of another name shares the cache with this one, and nothing else."""
DOMAIN = "roost.test"
NETWORK = "10.77.0"
LOOPBACK = f"127.77.{0 if NAME == 'roost' else 1 + zlib.crc32(NAME.encode()) % 254}"
MACHINE_DOMAIN = DOMAIN if NAME == "roost" else f"{NAME}.{DOMAIN}"
"""The hosts' domain as the machine sees it; the hosts themselves always say :data:`DOMAIN`."""
SWITCH = f"{NAME}-switch"
"""Network namespace that holds the bridge; nothing of it shows in the machine's own."""
CGROUP = f"{NAME}-testbed"
FORWARDED = {"iam": 8443, "hub": 8443}
"""Ports that the machine itself reaches, through loopback forwarders."""

_MAKING = threading.RLock()  # making one secret may take another

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host before it runs: its last octet and the layers that make its root, topmost first."""

    octet: int
    layers: tuple[str, ...]
    homes: bool = False
    """Whether users' homes are mounted here."""
    source: bool = False
    """Whether the repository is mounted here, read-only at ``/srv/roost``."""

    @property
    def address(self) -> str:
        """The address on the testbed's own network."""
        return f"{NETWORK}.{self.octet}"


PLAN = {
    "cm": HostPlan(10, ("batch", "base")),
    "ap": HostPlan(11, ("batch", "base")),
    "ep1": HostPlan(12, ("nodes", "batch", "base"), homes=True),
    "ep2": HostPlan(13, ("nodes", "batch", "base"), homes=True),
    "ctl": HostPlan(14, ("broker", "batch", "base"), source=True),
    "gpu1": HostPlan(15, ("nodes", "batch", "base"), homes=True),
    "gpu2": HostPlan(16, ("nodes", "batch", "base"), homes=True),
    "iam": HostPlan(17, ("npm", "base"), source=True),
    "hub": HostPlan(18, ("hub", "npm", "base"), source=True),
}

# The peers that the benchmarks compare with, run the way they need: a hub as root on an access
# point.  Started by the benchmark only.
BENCH_PLAN = {
    "peers": HostPlan(19, ("hub", "nodes", "npm", "batch", "base"), homes=True, source=True)
}


@dataclass(frozen=True, slots=True)
class Person:
    """Someone with an account on the nodes and, if `subject` is set, at the identity provider."""

    name: str
    uid: int
    subject: str | None
    password: str = field(repr=False)
    groups: tuple[str, ...]
    email: str
    admin: bool


def people() -> list[Person]:
    """Return everyone in ``people.json``."""
    rows = json.loads((Path(__file__).parent / "people.json").read_text())
    return [Person(**(row | {"groups": tuple(row["groups"])})) for row in rows]


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the testbed keeps things on the machine.

    `cache` outlives ``down``: the layers of the hosts' roots and the testbed's own authority.
    `state` is what one run of the testbed holds; ``down`` removes all of it but the logs.
    """

    cache: Path
    state: Path

    @classmethod
    def default(cls) -> Folders:
        """Read the environment, or take the usual places."""
        return cls(
            cache=Path(os.environ.get("ROOST_TESTBED_CACHE", "/var/cache/roost-testbed")),
            state=Path(os.environ.get("ROOST_TESTBED_STATE", f"/var/lib/{NAME}-testbed")),
        )

    @property
    def authority(self) -> Path:
        """The testbed's certificate authority."""
        return self.cache / "authority"

    @property
    def ca_certificate(self) -> Path:
        """What a browser or a test must trust."""
        return self.authority / "ca.crt"

    @property
    def logs(self) -> Path:
        """Logs of the services, a folder a host."""
        return self.state / "log"

    @property
    def secrets(self) -> Path:
        """Secrets of this run, readable by root."""
        return self.state / "secrets"

    @property
    def homes(self) -> Path:
        """Users' homes, where the nodes share them."""
        return self.state / "home"

    def host(self, name: str) -> Path:
        """Everything that belongs to one host."""
        return self.state / "hosts" / name


@dataclass(frozen=True, slots=True)
class Site:
    """One testbed, for the services that run on it."""

    folders: Folders
    suite: str
    hosts: dict[str, Host]
    shared_home: bool = True
    people: list[Person] = field(default_factory=people)
    repository: Path = REPOSITORY
    domain: str = DOMAIN
    issuer: str = f"https://iam.{DOMAIN}:8443"
    hub_url: str = f"https://hub.{DOMAIN}:8443"
    broker_url: str = f"https://ctl.{DOMAIN}:8443"
    ap_audience: str = f"https://ap.{DOMAIN}:9618"
    broker_audience: str = f"https://ctl.{DOMAIN}:8443"
    storage_audience: str = f"https://dcache.{DOMAIN}"

    def secret(self, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> str:
        """Return a secret of this run, made at the first call."""
        path = self.folders.secrets / name
        with _MAKING:  # services that start side by side share some of them
            if not path.exists():
                self.folders.secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
                draft = path.with_name(name + ".new")
                draft.unlink(missing_ok=True)
                descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                with os.fdopen(descriptor, "w") as file:
                    file.write(make())
                draft.rename(path)
            return path.read_text()


def fqdn(host: str) -> str:
    """Return a host's full name."""
    return f"{host}.{DOMAIN}"


def hosts_lines(plan: dict[str, HostPlan]) -> list[str]:
    """Return the lines of ``/etc/hosts`` in the hosts."""
    return [f"{item.address} {fqdn(name)} {name}" for name, item in plan.items()]


def machine_lines(plan: dict[str, HostPlan]) -> list[str]:
    """Return the lines of ``/etc/hosts`` of the machine, which must not take short names."""
    return [f"{LOOPBACK}.{item.octet} {name}.{MACHINE_DOMAIN}" for name, item in plan.items()]
