"""One switch and a cable to every host, all of it in network namespaces of the testbed's own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from testbed.errors import TestbedError
from testbed.layout import NETWORK, SWITCH

if TYPE_CHECKING:
    from testbed.layout import HostPlan


def namespace(host: str) -> str:
    """Return the name of a host's network namespace."""
    return f"roost-{host}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode:
        raise TestbedError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")


def namespaces() -> list[str]:
    """Return the testbed's network namespaces that exist now."""
    listed = subprocess.run(
        ["ip", "netns", "list"], capture_output=True, text=True, check=False
    ).stdout
    return [line.split()[0] for line in listed.splitlines() if line.startswith("roost-")]


def make_switch() -> None:
    """Make the bridge, unless it is there."""
    if SWITCH in namespaces():
        return
    _ip("netns", "add", SWITCH)
    _ip("-n", SWITCH, "link", "set", "lo", "up")
    _ip("-n", SWITCH, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
    _ip("-n", SWITCH, "addr", "add", f"{NETWORK}.1/24", "dev", "br0")
    _ip("-n", SWITCH, "link", "set", "br0", "up")


def plug_in(host: str, plan: HostPlan) -> None:
    """Make a host's network namespace and its cable to the switch."""
    name = namespace(host)
    if name in namespaces():
        return
    _ip("netns", "add", name)
    _ip("-n", name, "link", "set", "lo", "up")
    _ip(
        *("link", "add", "eth0", "netns", name, "type", "veth"),
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


def unplug(name: str) -> None:
    """Remove a network namespace with all that is in it."""
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
