"""The machine's own package settings, carried into the roots that are built.

A fresh root reaches no package server where the machine itself needs an authority, an index or a
proxy of its own to do so.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

INSIDE = "/build/links"
"""Where local folders that pip reads are mounted while a root is built."""
PIP_OPTIONS = frozenset(
    {
        "default-timeout",
        "extra-index-url",
        "find-links",
        "index-url",
        "proxy",
        "retries",
        "timeout",
        "trusted-host",
    }
)
APT_WORDS = ("Check-Date", "Check-Valid-Until", "Proxy", "Retries", "Timeout", "Verify-")
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True, slots=True)
class PipSettings:
    """What pip is told by its environment, and the machine's folders that it then reads."""

    environment: dict[str, str]
    folders: tuple[Path, ...]
    """The n-th is mounted as ``/build/links/<n>``."""


def pip_settings(listed: str, exists: Callable[[Path], bool] = Path.exists) -> PipSettings:
    """Read what ``pip config list`` printed.

    Folders that are not there are left out: pip would stop at them.  So are local indexes, whose
    pages name files beside them, outside what is mounted.
    """
    values: dict[str, str] = {}
    # pip's own order: the environment wins over files (pip documentation, "Configuration").
    lines = listed.splitlines()
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        name, equals, value = line.partition("=")
        option = name.rpartition(".")[2]
        if equals and option in PIP_OPTIONS:
            values[option] = str(ast.literal_eval(value))
    folders: list[Path] = []
    environment: dict[str, str] = {}
    for option, value in values.items():
        words = []
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            if not path.is_absolute():
                words.append(word)
            elif option == "find-links" and exists(path):
                scheme = "file://" if word.startswith("file://") else ""
                words.append(f"{scheme}{INSIDE}/{len(folders)}")
                folders.append(path)
        if words:
            environment["PIP_" + option.upper().replace("-", "_")] = " ".join(words)
    return PipSettings(environment, tuple(folders))


def apt_settings(dumped: str) -> str:
    """Return the lines of ``apt-config dump`` that say how to reach package servers."""
    kept = [
        line
        for line in dumped.splitlines()
        if line.startswith("Acquire::") and any(word in line for word in APT_WORDS)
    ]
    return "\n".join([*kept, 'Dpkg::Options:: "--force-unsafe-io";', 'Dpkg::Use-Pty "0";']) + "\n"


def machine_pip() -> PipSettings:
    """Ask this machine's pip."""
    return pip_settings(_output(sys.executable, "-m", "pip", "config", "list"))


def machine_apt() -> str:
    """Ask this machine's apt."""
    return apt_settings(_output("apt-config", "dump"))


def ca_bundle(candidates: Iterable[str] = BUNDLES) -> Path | None:
    """Return the file of authorities that this machine trusts, if one is found."""
    named = [os.environ.get(name, "") for name in ("PIP_CERT", "SSL_CERT_FILE")]
    for name in [*named, *candidates]:
        if name and Path(name).is_file():
            return Path(name)
    return None


def proxies() -> dict[str, str]:
    """Return the proxies of this environment."""
    return {name: text for name, text in os.environ.items() if name.lower().endswith("_proxy")}


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""
