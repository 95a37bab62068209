"""The peers, run the way they need: stock JupyterHubs as root on an access point of their own.

Everything is on the bench-only host ``peers``: an ordinary HTCondor access point (people log in
there, so it knows them by the file system) with the nodes' shared ``/home``, and three hubs.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from roost_spawner.clusters.htcondor.submit import REQUEST_DISK

from testbed import lifecycle, net
from testbed.demo.person import Person
from testbed.errors import TestbedError
from testbed.layout import LOOPBACK, REPOSITORY, SWITCH
from testbed.lifecycle import ALL_HOSTS
from testbed.root import Roots
from testbed.services import condor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
# Two schedds.  The first is as HTCondor ships it.  The second has what Roost's access point has
# ("How fast" in 20-access-point.conf): its submits wake the negotiator for notebooks at once.  In
# one schedd, one peer's submits would also wake the negotiator that the other one waits for.
QUICK = "NB"
QUICK_FOLDER = "/var/spool/condor-nb"
ACCESS_POINT_CONFIG = f"""\
use ROLE:Submit
FILESYSTEM_DOMAIN = $(UID_DOMAIN)
ALLOW_WRITE = $(ALLOW_WRITE), *@$(UID_DOMAIN)
DAEMON_LIST = $(DAEMON_LIST) SCHEDD_{QUICK}
SCHEDD_{QUICK} = $(SCHEDD)
SCHEDD_{QUICK}_ARGS = -local-name {QUICK}
{QUICK}.SCHEDD_NAME = notebooks@$(FULL_HOSTNAME)
{QUICK}.SCHEDD_LOG = $(LOG)/SchedLog.{QUICK}
{QUICK}.SPOOL = {QUICK_FOLDER}
{QUICK}.JOB_QUEUE_LOG = {QUICK_FOLDER}/job_queue.log
{QUICK}.HISTORY = {QUICK_FOLDER}/history
{QUICK}.SCHEDD_ADDRESS_FILE = {QUICK_FOLDER}/.schedd_address
{QUICK}.SCHEDD_DAEMON_AD_FILE = {QUICK_FOLDER}/.schedd_classad
{QUICK}.NEGOTIATOR_HOST = {QUICK}@$(ROOST_CENTRAL_MANAGER)
{QUICK}.SCHEDD_MIN_INTERVAL = 0
{QUICK}.SCHEDD_INTERVAL = $(ROOST_UPDATE_INTERVAL)
"""
# Sends HTCondor's commands to the second schedd.
QUICK_CLIENT = {
    "_CONDOR_SCHEDD_ADDRESS_FILE": f"{QUICK_FOLDER}/.schedd_address",
    "_CONDOR_SCHEDD_DAEMON_AD_FILE": f"{QUICK_FOLDER}/.schedd_classad",
}
UP = re.compile(r"^\[\w (\S+ \S+) ServerApp\] Jupyter Server .* is running at:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Peer:
    """One of the peers' hubs."""

    name: str
    port: int
    quick: bool = False
    """Whether it submits to the schedd that wakes the negotiator for notebooks."""
    crowd: bool = False
    """Whether its servers are as small as can be, for very many of them."""

    @property
    def client(self) -> dict[str, str]:
        """What HTCondor's commands need in their environment."""
        return QUICK_CLIENT if self.quick else {}


PEERS = (
    Peer("condor-nb", 8001, quick=True),
    Peer("condor-default", 8002),
    Peer("local", 8003),
)
CROWD = Peer("condor-crowd", 8004, quick=True, crowd=True)


class PeerPerson(Person):
    """A person at a hub that takes any password."""

    async def login(self) -> None:
        """Log in at the hub's own page."""
        await self.log_in_at_form(self.hub + "hub/login")


@contextlib.contextmanager
def running(site: Site, some: Sequence[Peer] = PEERS) -> Iterator[Host]:
    """Have the peers' host up with some hubs; gone at the end."""
    host = site.hosts[HOST]
    roots = Roots(site.folders, site.suite)
    _require_free_ports(some)
    forwarder = None
    try:
        # A bench that was killed may have left one of another configuration.
        site.hosts[HOST].kill()
        lifecycle.boot(site, roots, HOST)
        _tell_pool(site, POOL_CONFIG)
        _start_access_point(site, host, some)
        _start_hubs(site, host, some)
        forwarder = _forward(some)
        yield host
    finally:
        if forwarder is not None:
            forwarder.terminate()
            forwarder.wait()
        # The pool first: while it has this, it serves others' notebooks.
        _tell_pool(site, None)
        host.kill()
        net.unplug(net.namespace(HOST))
        for leftover in (site.folders.homes / ".peers", host.folder):
            shutil.rmtree(leftover, ignore_errors=True)


def _tell_pool(site: Site, text: str | None) -> None:
    for name in (condor.MANAGER, *condor.EXECUTE_POINTS):
        path = f"{CONFIG}/95-bench.conf"
        if site.hosts[name].pid() is None:
            continue  # went down with its configuration
        if text is None:
            site.hosts[name].path(path).unlink(missing_ok=True)
        else:
            site.hosts[name].write(path, text)
        site.hosts[name].run(["condor_reconfig"], check=False)


def _start_access_point(site: Site, host: Host, some: Sequence[Peer]) -> None:
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
    host.run(["install", "-d", "-o", "condor", "-g", "condor", *owned, QUICK_FOLDER])
    host.spawn(condor.MASTER, ["condor_master", "-f"])
    for peer in some:
        _until(
            partial(_answers, host, peer),
            f"the access point of {peer.name} did not come up",
        )


def _answers(host: Host, peer: Peer) -> bool:
    return host.run(["condor_q"], env=peer.client, check=False).returncode == 0


def _start_hubs(site: Site, host: Host, some: Sequence[Peer]) -> None:
    # batchspawner wants itself on the nodes; the shared file system is how its sites do that.
    source = find_spec("batchspawner")
    assert source is not None
    assert source.origin is not None
    target = site.folders.homes / ".peers/batchspawner"
    shutil.copytree(Path(source.origin).parent, target, dirs_exist_ok=True)
    for peer in some:
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
                "PEER_QUICK": str(peer.quick),
                "PEER_CROWD": str(peer.crowd),
                "PEER_CLIENT": " ".join(f"{name}={value}" for name, value in peer.client.items()),
            },
        )


def _require_free_ports(some: Sequence[Peer]) -> None:
    near = f"{LOOPBACK}.{ALL_HOSTS[HOST].octet}"
    for peer in some:
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex((near, peer.port)) == 0:
                raise TestbedError(
                    f"{near}:{peer.port} is in use: is another `python -m bench` at work?"
                )


def _forward(some: Sequence[Peer]) -> subprocess.Popen[bytes]:
    octet, address = ALL_HOSTS[HOST].octet, ALL_HOSTS[HOST].address
    routes = [f"{LOOPBACK}.{octet}:{p.port}={address}:{p.port}" for p in some]
    return subprocess.Popen(
        [sys.executable, "-I", str(REPOSITORY / "testbed/forward.py"), SWITCH, *routes],
        stdin=subprocess.DEVNULL,
    )


def url(peer: Peer) -> str:
    """Return where the machine reaches a peer's hub."""
    return f"http://{LOOPBACK}.{ALL_HOSTS[HOST].octet}:{peer.port}/"


def empty(host: Host, peer: Peer) -> bool:
    """Return whether the access point of a peer has no job."""
    listed = host.run(["condor_q", "-allusers", "-af", "ClusterId"], env=peer.client)
    return not listed.stdout.strip()


CYCLE = 20.0
"""Seconds from the end of a negotiation cycle until the next may begin, whoever asks for it
(``NEGOTIATOR_CYCLE_DELAY``, HTCondor's default)."""
_SOMEBODYS_JOB = f"""\
executable = /bin/true
transfer_executable = false
request_memory = 64
request_disk = {REQUEST_DISK}
queue
"""


def into_the_cycle(host: Host, peer: Peer, part: float) -> None:
    """Wait for a moment of the negotiation cycle, as it is in a pool with other people in it.

    There somebody's job is always about to be matched, so a new cycle follows as soon as it may.
    Here somebody's job is run to its end, and `part` of the pause after that cycle is let pass.
    """
    # The job before may have begun a cycle of its own; this one is matched in the next.
    host.run(["condor_submit", "-"], user="bob", input=_SOMEBODYS_JOB, env=peer.client)
    _until(partial(empty, host, peer), f"somebody's job stays in the queue of {peer.name}", 120)
    time.sleep(part * CYCLE)


def last_up(host: Host, peer: Peer) -> float:
    """Return when (Unix time) a local server last said in its log that it answers."""
    said = UP.findall((host.logs / f"hub-{peer.name}.log").read_text(errors="replace"))
    if not said:
        raise TestbedError(f"no server of {peer.name} has said that it is up")
    return datetime.fromisoformat(said[-1].replace(",", ".")).timestamp()


def _until(condition: Callable[[], bool], sentence: str, limit: float = 60) -> None:
    until = time.monotonic() + limit
    while not condition():
        if time.monotonic() > until:
            raise TestbedError(sentence)
        time.sleep(0.3)
