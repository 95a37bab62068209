"""The testbed's identity provider on this machine, with a throw-away certificate."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.layout import REPOSITORY, Folders
from testbed.root import npm_modules
from tests.support.hub import free_port
from tests.support.iam import Client, Iam

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SERVER = REPOSITORY / "testbed" / "iam" / "server.mjs"


@dataclass(frozen=True, slots=True)
class Someone:
    """A person with an account at the provider."""

    name: str
    subject: str
    password: str = field(repr=False)
    groups: tuple[str, ...] = ("/roost", "/roost/users")

    def record(self) -> dict[str, Any]:
        """Return this person as ``testbed/people.json`` has them."""
        return {
            "name": self.name,
            "subject": self.subject,
            "password": self.password,
            "groups": list(self.groups),
            "email": f"{self.name}@roost.test",
        }


class LocalIam(Iam):
    """A provider that runs on this machine; it can be taken away and brought back."""

    def __init__(
        self, folder: Path, *, people: Iterable[Someone], clients: Iterable[Client]
    ) -> None:
        self.port = free_port()
        self.folder = folder
        certificate(folder)
        super().__init__(f"https://localhost:{self.port}", folder / "ca.crt")
        self.people = tuple(people)
        self.clients = tuple(clients)
        people_file, clients_file = folder / "people.json", folder / "clients.json"
        people_file.write_text(json.dumps([person.record() for person in self.people]))
        clients_file.write_text(json.dumps([client.registration() for client in self.clients]))
        self._environment = {
            "PATH": os.environ["PATH"],
            "IAM_ISSUER": self.issuer,
            "IAM_TLS_KEY": str(folder / "host.key"),
            "IAM_TLS_CERT": str(folder / "host.crt"),
            "IAM_BIND": "127.0.0.1",
            "IAM_PEOPLE": str(people_file),
            "IAM_CLIENTS": str(clients_file),
            "IAM_KEYS": str(folder / "keys.json"),
            "IAM_STATE": str(folder / "state.json"),
            "IAM_MODULES": str(modules()),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the provider wrote down."""
        return (self.folder / "iam.log").read_text()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "iam.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["node", str(SERVER)], env=self._environment, stdout=log, stderr=log
            )
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"the identity provider did not start: {self.log}")

    def stop(self) -> None:
        """Stop it; grants survive."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None


@contextlib.contextmanager
def local_iam(
    folder: Path, *, people: Iterable[Someone], clients: Iterable[Client]
) -> Iterator[LocalIam]:
    """Run a provider of one's own in ``folder``."""
    iam = LocalIam(folder, people=people, clients=clients)
    iam.start()
    try:
        yield iam
    finally:
        iam.stop()


def certificate(folder: Path) -> None:
    """Make a throw-away CA and a certificate of it for this machine: ca.crt, host.key, host.crt."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2",
        "-subj", "/CN=Throw-away CA",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip
    openssl(
        "req", "-x509", *key, "-keyout", "host.key", "-out", "host.crt", "-days", "2",
        "-subj", "/CN=localhost", "-CA", "ca.crt", "-CAkey", "ca.key",
        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-addext", "basicConstraints=critical,CA:FALSE",
    )  # fmt: skip


def modules() -> Path:
    """Return the folder that holds npm's oidc-provider, and fill it if there is none yet."""
    given = os.environ.get("IAM_MODULES")
    if given:
        return Path(given)
    cache = Folders.default().cache
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except PermissionError:
        cache = Path.home() / ".cache" / "roost-testbed"
        cache.mkdir(parents=True, exist_ok=True)
    return npm_modules(cache) / "node_modules"
