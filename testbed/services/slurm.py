"""Slurm and its broker, from the files in ``hub-config/slurm`` with names filled in."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from testbed.host import CGROUPS
from testbed.mapfile import map_file
from testbed.services.base import Service

if TYPE_CHECKING:
    from testbed.host import Host
    from testbed.layout import Site

_GROUPS_V1 = (CGROUPS / "memory").is_dir()
"""Whether the machine has cgroups of the kernel's version 1, with which memory has limits."""
_GPU_MAJOR = 240
"""For local use (Linux's devices.txt): no driver answers, so who may open it gets ENXIO."""
CONTROLLER = "ctl"
NODES = ("gpu1", "gpu2")
URGENT = "urgent"
TEST_HUB = "roost-pool-test"
"""A hub that does not exist: its jobs are the tests' own, and no hub's reaper takes them away."""
JWT_KEY = "/etc/slurm/jwt_hs256.key"
READER = "roost-reader"
SLURMREST = "slurmrest"
BROKER = "roost-broker"


def names_conf(site: Site) -> str:
    """Return ``names.conf``: the testbed's names, and what a machine without systemd needs."""
    nodes = [
        f"NodeName={name} NodeAddr={site.hosts[name].address} CPUs=8 RealMemory=16384 "
        "Gres=gpu:2 State=UNKNOWN"
        for name in NODES
    ]
    listed = ",".join(NODES)
    lines = [
        "ClusterName=roost",
        f"SlurmctldHost={CONTROLLER}({site.hosts[CONTROLLER].address})",
        # Slurm makes groups of the kernel's version 2 through systemd only, which is not here.
        "ProctrackType=proctrack/linuxproc",
        f"TaskPlugin={'task/cgroup' if _GROUPS_V1 else 'task/none'}",
        # More CPUs than the machine has: notebooks idle.
        "SlurmdParameters=config_overrides",
        *nodes,
        f"PartitionName=gpu Nodes={listed} Default=YES MaxTime=24:00:00 State=UP",
        f"PartitionName=cpu Nodes={listed} MaxTime=24:00:00 State=UP",
        # Not the broker's to hand out: what comes first, as others have it beside notebooks.
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        "PreemptParameters=send_user_signal",
        f"PartitionName={URGENT} Nodes={listed} State=UP PriorityTier=100 PreemptMode=OFF",
    ]
    return "\n".join(lines) + "\n"


def broker_toml(site: Site) -> str:
    """Return the broker's configuration: the example with the testbed's names."""
    text = (site.repository / "hub-config/slurm/broker.toml").read_text()
    hub_id = "roost"
    site_file = site.repository / "hub-config/site.yaml"
    if site_file.exists():
        found = re.search(r"^hub_id:\s*([\w.-]+)", site_file.read_text(), re.MULTILINE)
        hub_id = found[1] if found else hub_id
    names = {
        "https://iam.example.org": site.issuer,
        "https://ctl.example.org:8443": site.broker_audience,
        '"example.org"': f'"{site.domain}"',
        '# options = ["nice", "licenses"]': 'options = ["signal"]',
        '"example-hub"': f'"{hub_id}", "{TEST_HUB}"',
    }
    for name, ours in names.items():
        text = text.replace(name, ours)
    return text


def write_slurm(site: Site, host: Host) -> None:
    """Write Slurm's files and munge's key; harmless when they are there."""
    for name in ("slurm.conf", "gres.conf", "cgroup.conf"):
        host.write(f"/etc/slurm/{name}", (site.repository / "hub-config/slurm" / name).read_text())
    host.write("/etc/slurm/names.conf", names_conf(site))
    devices = "".join(f"NodeName={name} Name=gpu File=/dev/roost-gpu[0-1]\n" for name in NODES)
    host.write("/etc/slurm/gres-names.conf", devices)
    plugin = "cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup" if _GROUPS_V1 else "disabled"
    host.write("/etc/slurm/cgroup-names.conf", f"CgroupPlugin={plugin}\n")
    host.run(["install", "-d", "-o", "slurm", "/var/lib/slurm/slurmctld", "/var/log/slurm"])


def _munge(site: Site, name: str) -> Service:
    service = f"munge-{name}"

    def start(host: Host) -> None:
        key = site.secret("munge-key", lambda: os.urandom(64).hex())
        host.write("/etc/munge/munge.key", key, owner="munge", mode=0o400)
        folders = ["/run/munge", "/var/lib/munge", "/var/log/munge"]
        host.run(["install", "-d", "-o", "munge", "-g", "munge", "-m", "755", *folders])
        host.spawn(service, ["munged", "--foreground", "--force"], user="munge")

    def ready(host: Host) -> bool:
        if not host.alive(service):
            return False
        return host.run(["sh", "-c", "munge -n | unmunge"], check=False).returncode == 0

    return Service(service, name, start, ready)


def _slurmctld(site: Site) -> Service:
    def start(host: Host) -> None:
        write_slurm(site, host)
        if not host.path(JWT_KEY).exists():
            # Made in the host itself: this key exists nowhere else.
            host.write(JWT_KEY, os.urandom(32), owner="slurm", mode=0o600)
            host.run(["chown", f"slurm:{BROKER}", JWT_KEY])
            host.run(["chmod", "640", JWT_KEY])
        host.spawn("slurmctld", ["slurmctld", "-D"])

    def ready(host: Host) -> bool:
        if not host.alive("slurmctld"):
            return False
        return host.run(["scontrol", "ping"], check=False).returncode == 0

    return Service("slurmctld", CONTROLLER, start, ready, after=(f"munge-{CONTROLLER}",))


def _slurmrestd() -> Service:
    def start(host: Host) -> None:
        _account(host, SLURMREST)
        host.spawn(
            "slurmrestd",
            ["slurmrestd", "-s", "openapi/slurmctld", "127.0.0.1:6820"],
            user=SLURMREST,
            env={"SLURM_JWT": "daemon"},
        )

    def ready(host: Host) -> bool:
        # It answers 401 without a token: that will do.
        ask = ["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:6820/openapi/v3"]
        return host.alive("slurmrestd") and host.run(ask, check=False).returncode == 0

    return Service("slurmrestd", CONTROLLER, start, ready, after=("slurmctld",))


def _slurmd(site: Site, name: str) -> Service:
    service = f"slurmd-{name}"

    def start(host: Host) -> None:
        write_slurm(site, host)
        host.run(["install", "-d", "/var/lib/slurm/slurmd"])
        for number in range(2):
            device = f"/dev/roost-gpu{number}"
            if not _is_device(host, device, number):
                host.run(["rm", "-f", device])
                host.run(["mknod", "-m", "666", device, "c", str(_GPU_MAJOR), str(number)])
        host.spawn(service, ["slurmd", "-D"])

    def ready(host: Host) -> bool:
        if not host.alive(service):
            return False
        show = ["sinfo", "--noheader", "--nodes", name, "--format", "%T"]
        states = host.run(show, check=False).stdout.split()
        return bool(states) and set(states) <= {"idle", "mixed", "allocated", "completing"}

    # A job outlives its node's slurmd, as in production.
    return Service(service, name, start, ready, after=(f"munge-{name}", "slurmctld"))


def _is_device(host: Host, path: str, number: int) -> bool:
    try:
        return host.path(path).stat().st_rdev == os.makedev(_GPU_MAJOR, number)
    except FileNotFoundError:
        return False


def _broker(site: Site) -> Service:
    def start(host: Host) -> None:
        _account(host, READER)
        host.run(["install", "-d", "-m", "700", "-o", BROKER, "/etc/roost-broker"])
        for name in ("host.key", "host.crt"):
            host.write(
                f"/etc/roost-broker/{name}",
                host.read(f"/etc/roost/tls/{name}"),
                owner=BROKER,
                mode=0o600,
            )
        host.write("/etc/roost/mapfile", map_file(site.people, site.issuer, site.domain))
        host.write("/etc/roost/broker.toml", broker_toml(site))
        host.spawn("slurm-broker", ["/opt/broker/bin/roost-slurm-broker"], user=BROKER)

    def ready(host: Host) -> bool:
        ask = ["curl", "-sf", "-o", "/dev/null", f"{site.broker_url}/v1/health"]
        return host.alive("slurm-broker") and host.run(ask, check=False).returncode == 0

    return Service("slurm-broker", CONTROLLER, start, ready, after=("slurmrestd",))


def _account(host: Host, name: str) -> None:
    if host.run(["id", name], check=False).returncode:
        command = ["useradd", "--system", "-M", "-d", "/nonexistent", "-s", "/usr/sbin/nologin"]
        host.run([*command, name])


def services(site: Site) -> list[Service]:
    """Return Slurm's services and the broker."""
    return [
        *(_munge(site, name) for name in (CONTROLLER, *NODES)),
        _slurmctld(site),
        *(_slurmd(site, name) for name in NODES),
        _slurmrestd(),
        _broker(site),
    ]
