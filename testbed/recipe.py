"""What each layer of the hosts' roots is made of.  Pure: a recipe and the hash of it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.layout import Person

FORMAT = "2"
"""Raised when the way of building changes what comes out of the same recipe."""

BASE = (
    "ca-certificates",
    "curl",
    "faketime",
    "iproute2",
    "openssl",
    "procps",
    "python3",
    "python3-venv",
)
BATCH = (
    "htcondor",
    "munge",
    "slurm-client",
    "slurm-wlm-jwt-plugin",
    "slurmctld",
    "slurmd",
    "slurmrestd",
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One overlayfs layer.

    Attributes
    ----------
    name
        As in :data:`testbed.layout.PLAN`.
    parents
        Layers that it is built upon, topmost first.
    script
        Run by ``sh -eu`` inside the layer, with the network of the machine.
    inputs
        Files of the repository that the script reads, as ``/build/<name>``.
    """

    name: str
    parents: tuple[str, ...]
    script: str
    inputs: tuple[str, ...] = ()

    def digest(self, repository: Path, parent_digests: dict[str, str]) -> str:
        """Return the hash of everything that decides what this layer holds."""
        state = hashlib.sha256(f"{FORMAT}\n{self.name}\n{self.script}\n".encode())
        for parent in self.parents:
            state.update(parent_digests[parent].encode())
        for name in self.inputs:
            state.update(name.encode() + _content(repository / name))
        return state.hexdigest()[:16]


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.name != "pyproject.toml":
        return data
    # Settings of tools say nothing about what is installed.
    whole = tomllib.loads(data.decode())
    hatch = whole.get("tool", {}).get("hatch")
    kept = {"build": whole.get("build-system"), "project": whole.get("project"), "hatch": hatch}
    return json.dumps(kept, sort_keys=True).encode()


def _apt(packages: tuple[str, ...]) -> str:
    return (
        "apt-get update -qq\n"
        "apt-get install -y -qq --no-install-recommends " + " ".join(packages) + "\n"
        "apt-get clean\nrm -rf /var/lib/apt/lists/*\n"
    )


def _venv(folder: str, requirements: str) -> str:
    return (
        f"python3 -m venv {folder}\n"
        f"{folder}/bin/pip install --quiet --require-hashes -r /build/{requirements}\n"
    )


def _project(folder: str) -> str:
    # The source itself is bound to /srv/roost when the host runs; the layer holds the metadata
    # (entry points) and a path to it.
    return (
        f"{folder}/bin/pip install --quiet --no-deps --no-build-isolation --editable /srv/roost\n"
    )


def layers(suite: str, people: list[Person]) -> dict[str, Layer]:
    """Return every layer of the testbed, in an order in which they can be built."""
    accounts = "".join(
        f"groupadd -g {person.uid} {person.name}\n"
        f"useradd -M -u {person.uid} -g {person.uid} -d /home/{person.name} -s /bin/bash "
        f"{person.name}\n"
        for person in people
    )
    base = (
        f"# suite {suite}\n"
        # Packages must start no services in a root that is being built: invoke-rc.d(8).
        "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d\n"
        "chmod 755 /usr/sbin/policy-rc.d\n"
        + _apt(BASE)
        + accounts
        + "useradd --system -m -d /var/lib/roost -s /usr/sbin/nologin roost\n"
        "useradd --system -M -d /nonexistent -s /usr/sbin/nologin roost-broker\n"
        "useradd --system -M -d /nonexistent -s /usr/sbin/nologin iam\n"
        "install -m 644 /build/ca.crt /usr/local/share/ca-certificates/roost.crt\n"
        "update-ca-certificates >/dev/null\n"
    )
    found = [
        Layer("base", (), base),
        Layer("batch", ("base",), _apt(BATCH)),
        Layer(
            "nodes",
            ("base",),
            _venv("/opt/jupyter", "requirements/nodes.txt"),
            ("requirements/nodes.txt",),
        ),
        Layer(
            "npm",
            ("base",),
            _apt(("nodejs",)) + "mkdir -p /opt\ncp -a /build/npm /opt/npm\n",
            ("testbed/npm/package-lock.json",),
        ),
        Layer(
            "hub",
            ("base",),
            _venv("/opt/roost", "requirements/hub.txt") + _project("/opt/roost"),
            ("requirements/hub.txt", "pyproject.toml"),
        ),
        Layer(
            "broker",
            ("base",),
            _venv("/opt/broker", "requirements/broker.txt") + _project("/opt/broker"),
            ("requirements/broker.txt", "pyproject.toml"),
        ),
    ]
    return {layer.name: layer for layer in found}
