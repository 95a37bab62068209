"""Can this machine carry the testbed?  Asked before anything is changed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from testbed.errors import Unfit

NEEDED_GB = 6
NEEDS_ROOT = "The testbed needs root, to make namespaces and mounts; run it again as root."
TOOLS = {
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "openssl": "openssl",
}
"""What the testbed runs on the machine itself, and the Debian package that brings it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What matters of a machine, so that the verdict is a pure function of it."""

    linux: bool
    root: bool
    missing: frozenset[str]
    """Tools of :data:`TOOLS` that are not there."""
    apt: bool
    npm: bool
    overlayfs: bool
    network_namespaces: bool
    free_gb: float
    online: bool
    """Whether Debian's package servers answer; only asked when something must be built."""


def verdict(machine: Machine, *, building: bool, folder: str) -> str | None:
    """Return why the machine will not do, as one sentence, or None when it will.

    Parameters
    ----------
    machine
        What was seen.
    building
        Whether a root must be built, which takes network and disk.
    folder
        Where the roots are kept, for the sentence.
    """
    missing = ", ".join(sorted(machine.missing))
    obstacles = [
        (not machine.linux, "The testbed needs Linux: its hosts are namespaces of its kernel."),
        (not machine.root, NEEDS_ROOT),
        (
            not machine.overlayfs,
            "This kernel has no overlayfs; load the module `overlay` or use another kernel.",
        ),
        (
            not machine.network_namespaces,
            "This kernel allows no network namespaces; it needs CONFIG_NET_NS.",
        ),
        (
            bool(missing) and not machine.apt,
            (
                f"{missing} not found and this is no Debian-like system to install it on; "
                "install it by hand, then run this again."
            ),
        ),
        (
            building and machine.free_gb < NEEDED_GB,
            (
                f"{folder} has {machine.free_gb:.1f} GB free and the testbed needs {NEEDED_GB} GB; "
                "free some, or set ROOST_TESTBED_CACHE to a folder with more."
            ),
        ),
        (
            building and not machine.npm,
            "npm was not found; install Node.js 18 or newer, with npm.",
        ),
        (
            building and not machine.online,
            (
                "Debian's package servers do not answer, and the testbed's root is not built yet; "
                "connect this machine to the network, then run this again."
            ),
        ),
    ]
    return next((sentence for obstacle, sentence in obstacles if obstacle), None)


def look(folder: Path, *, building: bool) -> Machine:
    """See what this machine is."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    return Machine(
        linux=Path("/proc/self/ns").is_dir(),
        root=os.geteuid() == 0,
        missing=frozenset(tool for tool in TOOLS if shutil.which(tool) is None),
        apt=shutil.which("apt-get") is not None,
        npm=shutil.which("npm") is not None,
        overlayfs=_has_overlayfs(),
        network_namespaces=Path("/proc/self/ns/net").exists(),
        free_gb=shutil.disk_usage(existing).free / 1e9,
        online=_online() if building else True,
    )


def _has_overlayfs() -> bool:
    listed = Path("/proc/filesystems")
    if not listed.exists():
        return False
    if "\toverlay" not in listed.read_text() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", "overlay"], check=False, capture_output=True)
    return "\toverlay" in listed.read_text()


def _online() -> bool:
    # Behind a proxy there may be no route at all; then only the package tools can tell.
    if any(os.environ.get(name) for name in ("http_proxy", "HTTP_PROXY")):
        return True
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)"],
        capture_output=True,
        text=True,
        check=False,
    )
    sites = {urlsplit(line) for line in listed.stdout.split()}
    for site in sites:
        port = site.port or (443 if site.scheme == "https" else 80)
        with contextlib.suppress(OSError):
            socket.create_connection((site.hostname or "", port), timeout=10).close()
            return True
    return not sites


def require(folder: Path, *, building: bool) -> None:
    """Refuse a machine that will not do; install the tools that are missing.

    Raises
    ------
    Unfit
        With one sentence.  Nothing has been changed then.
    """
    machine = look(folder, building=building)
    why = verdict(machine, building=building, folder=str(folder))
    if why is not None:
        raise Unfit(why)
    if machine.missing:
        _install(sorted({TOOLS[tool] for tool in machine.missing}))


def _install(packages: list[str]) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise Unfit(f"`{' '.join(command)}` failed: {' '.join(last)}")
