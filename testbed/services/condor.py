"""HTCondor, from the files in ``hub-config/htcondor`` with names filled in.

One ``condor_master`` a host; its daemons are services of their own, which tests stop and start one
by one through that master.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from testbed.errors import TestbedError
from testbed.mapfile import map_file
from testbed.services.base import Service

if TYPE_CHECKING:
    from testbed.host import Host
    from testbed.layout import Site

MANAGER = "cm"
ACCESS_POINT = "ap"
EXECUTE_POINTS = ("ep1", "ep2")
HUB = "hub"
CONFIG = "/etc/condor/config.d"
MASTER = "condor"
WATCH_TOKEN = "watch-htcondor.token"
ROLES = {
    MANAGER: "20-central-manager.conf",
    ACCESS_POINT: "20-access-point.conf",
    **dict.fromkeys(EXECUTE_POINTS, "20-execute-point.conf"),
}
CORES = 2
KEEPALIVE = ("intvl=5", "probes=4")
LOGS = {
    "COLLECTOR": "CollectorLog",
    "NEGOTIATOR": "NegotiatorLog",
    "NEGOTIATOR_NB": "NegotiatorLog.NB",
    "SCHEDD": "SchedLog",
    "STARTD": "StartLog",
}

_ORDINARY_ACCESS_POINT = """\
# Only in the testbed: an ordinary access point beside the central manager, for people who log in
# there.  Tests show that its jobs keep out of the notebooks' slots.
DAEMON_LIST = $(DAEMON_LIST) SCHEDD
ALLOW_WRITE = $(ALLOW_WRITE), *@$(UID_DOMAIN)
SCHEDD_INTERVAL = $(ROOST_UPDATE_INTERVAL)
"""
_SHORT_LEASE = """\
# Written by the testbed: a starter that has not been in touch with its shadow for as long as the
# lease ends its job when the shadow goes.
STARTER_UPDATE_INTERVAL = 30
"""
_GONE = 20.0
"""Seconds for which a daemon that was told to end is waited for."""
_configuring = threading.Lock()


def names_conf(site: Site) -> str:
    """Return the shipped example of the site's names, with the testbed's filled in."""
    ours = {
        "UID_DOMAIN": site.domain,
        "ROOST_CENTRAL_MANAGER": site.hosts[MANAGER].fqdn,
        "ROOST_ACCESS_POINT": site.hosts[ACCESS_POINT].fqdn,
        "ROOST_SUBMITTERS": f"*@$(UID_DOMAIN)/{site.hosts[HUB].address}/31",
        "ROOST_AUDIENCE": site.ap_audience,
        # Lost nodes, and a collector that comes back, are to show within a test.
        "ROOST_LEASE": "120",
        "ROOST_UPDATE_INTERVAL": "10",
    }
    text = (site.repository / "hub-config/htcondor/00-names.conf.example").read_text()
    lines = []
    for line in text.splitlines():
        name = line.partition(" = ")[0]
        lines.append(f"{name} = {ours.pop(name)}" if name in ours else line)
    if ours:
        raise TestbedError(f"00-names.conf.example does not have {', '.join(ours)} any more")
    lines.append(f"ROOST_CORES = {CORES}")  # whatever the machine has
    return "\n".join(lines) + "\n"


def watch_token(site: Site) -> str:
    """Return the hub's IDTOKEN, which may only read; signed with the pool's key on first use."""
    return _token(site, WATCH_TOKEN, f"roost-watch@{site.domain}", "READ")


def _token(site: Site, name: str, identity: str, *rights: str) -> str:
    """Return a token of the pool by the name of its secret."""
    host = site.hosts[MANAGER]
    with _configuring:
        if not host.path("/etc/condor/passwords.d/POOL").exists():
            _configure(site, host)
    words = [word for right in rights for word in ("-authz", right)]
    create = ["condor_token_create", "-identity", identity, *words]
    return site.secret(name, lambda: host.run(create).stdout.strip() + "\n")


def _configure(site: Site, host: Host) -> None:
    """Write a host's files; harmless when they are there."""
    shipped = site.repository / "hub-config/htcondor"
    host.write(f"{CONFIG}/00-names.conf", names_conf(site))
    for name in ("10-common.conf", ROLES[host.name]):
        host.write(f"{CONFIG}/{name}", (shipped / name).read_text())
    host.run(["install", "-d", "-m", "700", "/etc/condor/passwords.d", "/etc/condor/tokens.d"])
    if host.name in (MANAGER, ACCESS_POINT):
        # Both verify the tokens that it signs: the hub's watcher reads from either.
        key = site.secret("condor-pool-key", lambda: os.urandom(32).hex())
        host.write("/etc/condor/passwords.d/POOL", key, mode=0o600)
    if host.name == MANAGER:
        host.write(f"{CONFIG}/90-ordinary-access-point.conf", _ORDINARY_ACCESS_POINT)
    if host.name not in (MANAGER, ACCESS_POINT):
        host.write(f"{CONFIG}/90-short-lease.conf", _SHORT_LEASE)
    if host.name == ACCESS_POINT:
        host.write("/etc/roost/mapfile", map_file(site.people, site.issuer, site.domain))
        # Lost nodes are to show within a test: after 30 s + 5 s x 4, not after 30 s + 75 s x 9.
        host.run(["sysctl", "-q", "-w", *(f"net.ipv4.tcp_keepalive_{item}" for item in KEEPALIVE)])
    owned = [f"/var/{name}/condor" for name in ("run", "lock", "spool", "log/testbed")]
    folders = [*owned, "/var/lib/condor/execute"]
    if host.name == ACCESS_POINT:
        folders.append("/var/spool/condor/scitokens")
    host.run(["install", "-d", "-o", "condor", "-g", "condor", *folders])
    # In the folder that outlives the host.
    link = "rm -rf /var/log/condor; ln -s testbed/condor /var/log/condor"
    host.run(["sh", "-c", f"test -L /var/log/condor || {{ {link}; }}"])


def _join_pool(site: Site, host: Host) -> None:
    """Give a host the token by which the collector knows it."""
    may = "ADVERTISE_SCHEDD" if host.name == ACCESS_POINT else "ADVERTISE_STARTD"
    token = _token(
        site,
        f"condor-token-{host.name}",
        f"condor@{site.domain}",
        *(may, "ADVERTISE_MASTER", "READ"),
    )
    host.write("/etc/condor/tokens.d/pool", token, mode=0o600)


def _daemon(
    site: Site, name: str, where: str, *, label: str, ad: tuple[str, ...], after: tuple[str, ...]
) -> Service:
    """Describe one daemon under a host's master.

    Parameters
    ----------
    label
        What the master calls it.
    ad
        Question to ``condor_status`` that has an answer while the daemon runs.
    """

    def start(host: Host) -> None:
        if host.alive(MASTER):
            host.run(["condor_on", "-daemon", label], check=False)
            return
        _configure(site, host)
        if where != MANAGER:
            _join_pool(site, host)
        host.spawn(MASTER, ["condor_master", "-f"])

    def stop(host: Host) -> None:
        host.run(["condor_off", "-fast", "-daemon", label], check=False)
        # A startd takes its time (10 s were seen).  While it is there it counts as ready, and its
        # master has nothing to start.
        until = time.monotonic() + _GONE
        while ready(host) and time.monotonic() < until:
            time.sleep(0.1)

    def ready(host: Host) -> bool:
        if not host.alive(MASTER):
            return False
        manager = site.hosts[MANAGER]
        answer = manager.run(["condor_status", *ad], check=False, timeout=60)
        return answer.returncode == 0 and bool(answer.stdout.strip())

    log = f"/var/log/condor/{LOGS[label]}"
    return Service(name, where, start, ready, stop, after=after, timeout=60, log=log)


def services(site: Site) -> list[Service]:
    """Return HTCondor's services."""
    manager, access_point = site.hosts[MANAGER].fqdn, site.hosts[ACCESS_POINT].fqdn

    def named(kind: str, name: str) -> tuple[str, ...]:
        return (kind, "-constraint", f'Name == "{name}"', "-af", "Name")

    collector = _daemon(
        site,
        "collector",
        MANAGER,
        label="COLLECTOR",
        ad=("-collector", "-af", "Name"),
        after=(),
    )
    rows = [
        ("negotiator", MANAGER, "NEGOTIATOR", named("-negotiator", manager)),
        ("negotiator-nb", MANAGER, "NEGOTIATOR_NB", named("-negotiator", f"NB@{manager}")),
        ("schedd-ordinary", MANAGER, "SCHEDD", named("-schedd", manager)),
        ("schedd", ACCESS_POINT, "SCHEDD", named("-schedd", access_point)),
        *(
            (
                f"startd@{name}",
                name,
                "STARTD",
                ("-constraint", f'Machine == "{site.hosts[name].fqdn}"', "-af", "Name"),
            )
            for name in EXECUTE_POINTS
        ),
    ]
    return [
        collector,
        *(
            _daemon(site, name, where, label=label, ad=ad, after=("collector",))
            for name, where, label, ad in rows
        ),
    ]
