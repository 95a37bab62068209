"""The peers, run the way they need: stock JupyterHubs as root on an access point of their own.

Everything is on the bench-only host ``peers``: an ordinary HTCondor access point (people log in
there, so it knows them by the file system) with the nodes' shared ``/home``, and three hubs.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import lifecycle
from testbed.demo.person import Person, Refused
from testbed.layout import LOOPBACK, REPOSITORY, SWITCH
from testbed.lifecycle import ALL_HOSTS
from testbed.root import Roots
from testbed.services import condor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testbed.host import Host
    from testbed.layout import Site

HOST = "peers"
CONFIG = condor.CONFIG
# What the peers need of the pool and Roost does not: one file system domain (they share /home with
# the nodes), and a negotiator for notebooks that looks at their access point too.
POOL_CONFIG = """\
FILESYSTEM_DOMAIN = $(UID_DOMAIN)
NB.NEGOTIATOR_SUBMITTER_CONSTRAINT = true
"""
ACCESS_POINT_CONFIG = """\
use ROLE:Submit
FILESYSTEM_DOMAIN = $(UID_DOMAIN)
ALLOW_WRITE = $(ALLOW_WRITE), *@$(UID_DOMAIN)
SCHEDD_MIN_INTERVAL = 1
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """One of the peers' hubs."""

    name: str
    port: int


PEERS = (Peer("condor-nb", 8001), Peer("condor-default", 8002), Peer("local", 8003))


class PeerPerson(Person):
    """A person at a hub that takes any password."""

    async def login(self) -> None:
        """Log in at the hub's own page."""
        await self.log_in_at_form(self.hub + "hub/login")


@contextlib.contextmanager
def running(site: Site) -> Iterator[Host]:
    """Have the peers' host up with its three hubs; gone at the end."""
    host = site.hosts[HOST]
    roots = Roots(site.folders, site.suite)
    lifecycle.boot(site, roots, HOST)
    forwarder = None
    try:
        _tell_pool(site, POOL_CONFIG)
        _start_access_point(site, host)
        _start_hubs(site, host)
        forwarder = _forward()
        yield host
    finally:
        if forwarder is not None:
            forwarder.terminate()
            forwarder.wait()
        host.kill()
        _tell_pool(site, None)


def _tell_pool(site: Site, text: str | None) -> None:
    for name in (condor.MANAGER, *condor.EXECUTE_POINTS):
        path = f"{CONFIG}/95-bench.conf"
        if text is None:
            site.hosts[name].path(path).unlink(missing_ok=True)
        else:
            site.hosts[name].write(path, text)
        site.hosts[name].run(["condor_reconfig"], check=False)


def _start_access_point(site: Site, host: Host) -> None:
    shipped = REPOSITORY / "hub-config/htcondor"
    host.write(f"{CONFIG}/00-names.conf", condor.names_conf(site))
    host.write(f"{CONFIG}/10-common.conf", (shipped / "10-common.conf").read_text())
    host.write(f"{CONFIG}/20-access-point.conf", ACCESS_POINT_CONFIG)
    host.run(["install", "-d", "-m", "700", "/etc/condor/passwords.d", "/etc/condor/tokens.d"])
    manager = site.hosts[condor.MANAGER]
    rights = ["ADVERTISE_SCHEDD", "ADVERTISE_MASTER", "READ"]
    words = [word for right in rights for word in ("-authz", right)]
    token = manager.run(["condor_token_create", "-identity", f"condor@{site.domain}", *words])
    host.write("/etc/condor/tokens.d/pool", token.stdout, mode=0o600)
    owned = [f"/var/{name}/condor" for name in ("run", "lock", "log", "spool", "lib")]
    host.run(["install", "-d", "-o", "condor", "-g", "condor", *owned])
    host.spawn(condor.MASTER, ["condor_master", "-f"])
    _until(
        lambda: host.run(["condor_q"], check=False).returncode == 0,
        "the peers' access point did not come up",
    )


def _start_hubs(site: Site, host: Host) -> None:
    # batchspawner wants itself on the nodes; the shared file system is how its sites do that.
    source = find_spec("batchspawner")
    assert source is not None
    assert source.origin is not None
    target = site.folders.homes / ".peers/batchspawner"
    shutil.copytree(Path(source.origin).parent, target, dirs_exist_ok=True)
    for peer in PEERS:
        folder = f"/var/lib/{peer.name}"
        host.run(["install", "-d", "-m", "755", folder])
        host.spawn(
            f"hub-{peer.name}",
            ["/opt/roost/bin/jupyterhub", "--config", "/srv/roost/bench/peer_config.py"],
            cwd=folder,
            env={
                "PATH": "/opt/roost/bin:/opt/npm/node_modules/.bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "PEER": peer.name,
                "PEER_PORT": str(peer.port),
            },
        )


def _forward() -> subprocess.Popen[bytes]:
    octet, address = ALL_HOSTS[HOST].octet, ALL_HOSTS[HOST].address
    routes = [f"{LOOPBACK}.{octet}:{p.port}={address}:{p.port}" for p in PEERS]
    return subprocess.Popen(
        [sys.executable, "-I", str(REPOSITORY / "testbed/forward.py"), SWITCH, *routes],
        stdin=subprocess.DEVNULL,
    )


def url(peer: Peer) -> str:
    """Return where the machine reaches a peer's hub."""
    return f"http://{LOOPBACK}.{ALL_HOSTS[HOST].octet}:{peer.port}/"


def empty(host: Host) -> bool:
    """Return whether the peers' access point has no job."""
    return not host.run(["condor_q", "-allusers", "-af", "ClusterId"]).stdout.strip()


def _until(condition: object, sentence: str, limit: float = 60) -> None:
    assert callable(condition)
    until = time.monotonic() + limit
    while not condition():
        if time.monotonic() > until:
            raise Refused(sentence)
        time.sleep(0.3)
