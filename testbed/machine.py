"""Can this machine carry the testbed?  Asked before anything is changed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from testbed.carried import proxies
from testbed.errors import Unfit
from testbed.mirror import mirror

if TYPE_CHECKING:
    from testbed.layout import Folders

NEEDED_GB = 6
NEEDS_ROOT = "The testbed needs root, to make namespaces and mounts; run it again as root."
TOOLS = {
    "ip": "iproute2",
    "mount": "mount",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
"""What the testbed runs on the machine itself, and the Debian package that brings it."""
BUILD_TOOLS = {"debootstrap": "debootstrap", "npm": "npm"}
"""Likewise, while roots are built."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What matters of a machine, so that the verdict is a pure function of it."""

    linux: bool
    root: bool
    missing: frozenset[str]
    """Tools of :data:`TOOLS`, and to build :data:`BUILD_TOOLS`, that are not there."""
    apt: bool
    overlayfs: bool
    namespaces: bool
    links: bool
    """Whether the kernel makes bridges and virtual cables; not known without ``ip``."""
    nested: tuple[str, ...]
    """Folders of ours that lie on an overlay themselves."""
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
    nested = " and ".join(machine.nested)
    obstacles = [
        (not machine.linux, "The testbed needs Linux: its hosts are namespaces of its kernel."),
        (not machine.root, NEEDS_ROOT),
        (
            not machine.overlayfs,
            "This kernel has no overlayfs; load the module `overlay` or use another kernel.",
        ),
        (
            not machine.namespaces,
            (
                "This kernel allows no network namespaces of one's own; it needs CONFIG_NET_NS, "
                "and in a container the capability CAP_SYS_ADMIN."
            ),
        ),
        (
            not machine.links,
            "This kernel makes no bridges or virtual cables; load the modules `bridge` and `veth`.",
        ),
        (
            bool(nested),
            (
                f"{nested} cannot hold an overlay's upper layer, being on an overlay itself; set "
                "ROOST_TESTBED_CACHE and ROOST_TESTBED_STATE to folders on a disk."
            ),
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
            building and not machine.online,
            (
                "Debian's mirror does not answer, and the testbed's root is not built yet; connect "
                "this machine to the network, or name another mirror in ROOST_TESTBED_MIRROR."
            ),
        ),
    ]
    return next((sentence for obstacle, sentence in obstacles if obstacle), None)


def look(folders: Folders, *, building: bool) -> Machine:
    """See what this machine is; nothing is changed by it."""
    root = os.geteuid() == 0
    ours = [_existing(folder) for folder in (folders.cache, folders.state)]
    tools = TOOLS | (BUILD_TOOLS if building else {})
    return Machine(
        linux=Path("/proc/self/ns").is_dir(),
        root=root,
        missing=frozenset(tool for tool in tools if shutil.which(tool) is None),
        apt=shutil.which("apt-get") is not None,
        overlayfs=_has_overlayfs(),
        namespaces=not root or _works("true"),
        links=not root
        or not shutil.which("ip")
        or _works("ip link add br0 type bridge && ip link add v0 type veth peer name v1"),
        nested=tuple(str(folder) for folder in dict.fromkeys(ours) if _on_overlay(folder)),
        free_gb=shutil.disk_usage(ours[0]).free / 1e9,
        online=not building or _online(),
    )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _works(script: str) -> bool:
    """Return whether a script ends well in namespaces that vanish with it."""
    if shutil.which("unshare") is None:
        return Path("/proc/self/ns/net").exists()
    words = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "sh", "-c", script]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _has_overlayfs() -> bool:
    listed = Path("/proc/filesystems")
    if not listed.exists():
        return False
    if "\toverlay" not in listed.read_text() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", "overlay"], check=False, capture_output=True)
    return "\toverlay" in listed.read_text()


def _on_overlay(folder: Path) -> bool:
    words = ["stat", "--file-system", "--format=%T", str(folder)]
    shown = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return shown.strip() == "overlayfs"


def _online() -> bool:
    if proxies():  # there may be no route of our own; then only the package tools can tell
        return True
    site = urlsplit(mirror())
    if not site.hostname:
        return True  # a mirror on this disk
    port = site.port or (443 if site.scheme == "https" else 80)
    try:
        socket.create_connection((site.hostname, port), timeout=10).close()
    except OSError:
        return False
    return True


def require(folders: Folders, *, building: bool) -> None:
    """Refuse a machine that will not do; install the tools that are missing.

    Raises
    ------
    Unfit
        With one sentence.  Nothing has been changed then.
    """
    machine = look(folders, building=building)
    why = verdict(machine, building=building, folder=str(folders.cache))
    if why is not None:
        raise Unfit(why)
    if machine.missing:
        packages = TOOLS | BUILD_TOOLS
        _install(sorted({packages[tool] for tool in machine.missing}))


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
