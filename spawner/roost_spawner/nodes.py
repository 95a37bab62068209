"""Where a session's server may be: on a node, and never where a service is.

The proxy sends a user's browser to the node, and internal TLS signs its name.  So a node that turns
out to be the hub, the proxy, the identity provider or a service of a cluster gets neither.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from roost_spawner.errors import ClusterUnreachable, SessionFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_KNOWN_FOR = 60.0
"""Seconds for which the addresses of the services are kept."""
_WITHIN = 10.0
"""Seconds for one look-up."""


class NoNode(SessionFailed):
    """A session's server is said to be where no notebook may be."""


def host_of(text: str) -> str:
    """Return the host of a URL, of ``host:port``, of ``name@host`` or of HTCondor's ``<…>``.

    In small letters, without a final dot; empty if there is none.
    """
    bare = text.strip().lstrip("<").partition("?")[0].rstrip(">")
    bare = bare if "://" in bare else f"//{bare}"
    try:
        found = urlsplit(bare).hostname or ""
    except ValueError:
        return ""
    return found.rstrip(".").lower()


def plain(address: str) -> Address | None:
    """Return an address, an IPv4 one that is written as IPv6 as what it is; None if it is none."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0].strip("[]"))
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def refusal(
    node: str, addresses: Collection[Address], services: Mapping[str, Collection[Address]]
) -> str:
    """Return why a node is none, in words for the log; empty if it may be one.

    Parameters
    ----------
    node
        Its name or address, as the batch system has it.
    addresses
        What the hub resolves it to.
    services
        Hosts of the hub, the proxy, the identity provider and the clusters, with their addresses.
    """
    name = host_of(node)
    if not name:
        return "it has no name"
    if name == "localhost" or name.endswith(".localhost") or name in services:
        return f"{name} is a service's host"
    return next((why for address in addresses if (why := _taken(address, services))), "")


def _taken(address: Address, services: Mapping[str, Collection[Address]]) -> str:
    nowhere = address.is_unspecified or address == ipaddress.IPv4Address("255.255.255.255")
    if nowhere or address.is_loopback or address.is_link_local or address.is_multicast:
        return f"{address} is no address of a node"
    return next((f"{address} is {name}'s" for name, own in services.items() if address in own), "")


def is_own(address: Address) -> bool:
    """Whether an address is one of this host's: what leaves for it would come from it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))  # sends nothing
            return plain(str(probe.getsockname()[0])) == address
    except OSError:
        return False


async def resolve(host: str) -> frozenset[Address]:
    """Return a host's addresses; none if it has none, or nobody says in time."""
    if (address := plain(host)) is not None:
        return frozenset([address])
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_WITHIN):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # TimeoutError is one
        return frozenset()
    return frozenset(address for item in found if (address := plain(str(item[4][0]))) is not None)


class Services:
    """The addresses of hosts that are no nodes, looked up now and then."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, frozenset[Address]]] = {}

    async def of(self, hosts: Iterable[str]) -> dict[str, frozenset[Address]]:
        """Return hosts with their addresses."""
        names = sorted({name for host in hosts if (name := host_of(host))})
        now = time.monotonic()
        old = [n for n in names if n not in self._known or now > self._known[n][0] + _KNOWN_FOR]
        for name, found in zip(old, await asyncio.gather(*map(resolve, old)), strict=True):
            # Who cannot be resolved just now is still what it was.
            before = self._known.get(name, (0.0, frozenset()))[1]
            self._known[name] = (now, found or before)
        return {name: self._known[name][1] for name in names}

    async def check(self, node: str, hosts: Iterable[str], shared: Collection[str] = ()) -> None:
        """Refuse a node that is none.

        Parameters
        ----------
        node
            Its name or address, as the batch system has it.
        hosts
            Services: names, addresses or URLs.
        shared
            Hosts that the admin has named as nodes all the same.

        Raises
        ------
        NoNode
            If it may be none.
        ClusterUnreachable
            If the hub cannot resolve its name: it may be able to later.
        """
        if host_of(node) in {host_of(name) for name in shared}:
            return
        addresses = await resolve(host_of(node))
        why = refusal(node, addresses, await self.of(hosts))
        if not why:
            why = next((f"{one} is the hub's own" for one in addresses if is_own(one)), "")
        if why:
            raise NoNode(
                "The batch system says that your session runs where no notebook may run, so nobody "
                "is sent there. Please tell the admins.",
                detail=f"node {node[:100]!r}: {why}; a host that is both stands in "
                "c.RoostSpawner.shared_nodes",
            )
        if not addresses:
            raise ClusterUnreachable(
                f"The hub cannot find the node {node[:100]} by its name yet.",
                detail="its name does not resolve on the hub's host",
            )
