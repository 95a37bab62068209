"""One switch and a cable to every host, all of it in network namespaces of the testbed's own."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.errors import TestbedError
from testbed.layout import NAME, NETWORK, SWITCH

if TYPE_CHECKING:
    from testbed.layout import HostPlan


FOLDER = Path("/run/netns")
"""Where ``ip netns`` keeps names: ip-netns(8)."""


def namespace(host: str) -> str:
    """Return the name of a host's network namespace."""
    return f"{NAME}-{host}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode:
        raise TestbedError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")


def _answers(*arguments: str) -> bool:
    done = subprocess.run(["ip", *arguments], capture_output=True, check=False, timeout=30)
    return done.returncode == 0


def namespaces() -> list[str]:
    """Return the testbed's network namespaces that exist now."""
    listed = subprocess.run(
        ["ip", "netns", "list"], capture_output=True, text=True, check=False
    ).stdout
    return [line.split()[0] for line in listed.splitlines() if line.startswith(f"{NAME}-")]


def make_switch() -> None:
    """Make the bridge; finishes one that a killed `up` left half made."""
    if SWITCH not in namespaces():
        _ip("netns", "add", SWITCH)
    _ip("-n", SWITCH, "link", "set", "lo", "up")
    if not _answers("-n", SWITCH, "link", "show", "br0"):
        _ip("-n", SWITCH, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
    _ip("-n", SWITCH, "addr", "replace", f"{NETWORK}.1/24", "dev", "br0")
    _ip("-n", SWITCH, "link", "set", "br0", "up")


def plug_in(host: str, plan: HostPlan) -> None:
    """Make the network namespace and the cable of a host that does not run, from fresh."""
    name = namespace(host)
    # What a dead host left: its processes are gone, its namespace is pinned by its name.
    unplug(name)
    if _answers("-n", SWITCH, "link", "show", host):
        _ip("-n", SWITCH, "link", "del", host)
    _ip("netns", "add", name)
    _ip("-n", name, "link", "set", "lo", "up")
    _ip(
        # The same hardware address in every life: others remember it for half a minute.
        *("link", "add", "eth0", "netns", name, "address", f"02:00:0a:4d:00:{plan.octet:02x}"),
        *("type", "veth"),
        *("peer", "name", host, "netns", SWITCH),
    )
    _ip("-n", name, "addr", "add", f"{plan.address}/24", "dev", "eth0")
    _ip("-n", name, "link", "set", "eth0", "up")
    _ip("-n", SWITCH, "link", "set", host, "master", "br0", "up")


def cut(host: str) -> None:
    """Pull a host's cable: its packets and the answers vanish, no connection is reset."""
    _ip("-n", SWITCH, "link", "set", host, "down")


def heal(host: str) -> None:
    """Plug the cable in again."""
    _ip("-n", SWITCH, "link", "set", host, "up")


def is_cut(host: str) -> bool:
    """Return whether the cable is pulled."""
    shown = subprocess.run(
        ["ip", "-n", SWITCH, "-br", "link", "show", host],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return "UP" not in shown.split("<")[-1].split(">")[0].split(",")


def processes(name: str) -> list[int]:
    """Return the processes in a network namespace."""
    listed = subprocess.run(
        ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listed.stdout.split()]


def unplug(name: str) -> None:
    """Remove a network namespace with all that is in it."""
    if name in namespaces():
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def tidy() -> None:
    """Remove the mount that ``ip netns`` made for its first namespace, once there is none left."""
    with contextlib.suppress(OSError):
        while not any(FOLDER.iterdir()) and FOLDER.is_mount():
            subprocess.run(["umount", str(FOLDER)], capture_output=True, check=True)
        FOLDER.rmdir()
