"""Bring the testbed up and take it down, from whatever state it is in."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import hostsfile, machine, net
from testbed.authority import make_certificate
from testbed.errors import TestbedError
from testbed.host import Host, remove_groups
from testbed.layout import (
    BENCH_PLAN,
    FORWARDED,
    LOOPBACK,
    NETWORK,
    PLAN,
    REPOSITORY,
    SWITCH,
    Folders,
    Site,
    fqdn,
    hosts_lines,
)
from testbed.root import Roots
from testbed.services import all_services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testbed.services.base import Service
    from testbed.steps import Say

ALL_HOSTS = PLAN | BENCH_PLAN
LOCK = Path("/run/roost-testbed.lock")


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """Let one `up` or `down` at a time."""
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TestbedError(
                "Another `python -m testbed up` or `down` is at work; wait for it to end."
            ) from None
        yield


def site(folders: Folders) -> Site:
    """Return the testbed as it was brought up last, or would be."""
    settings = {"suite": "trixie", "shared_home": True}
    with contextlib.suppress(FileNotFoundError, ValueError):
        settings |= json.loads((folders.state / "settings.json").read_text())
    hosts = {name: Host(name, plan.address, folders) for name, plan in ALL_HOSTS.items()}
    return Site(
        folders=folders,
        suite=str(settings["suite"]),
        hosts=hosts,
        shared_home=bool(settings["shared_home"]),
    )


def up(folders: Folders, say: Say, *, suite: str, shared_home: bool = True) -> Site:
    """Bring everything up that is not up; harmless when all is.

    Raises
    ------
    Unfit
        If this machine cannot carry it.  Nothing has been changed then.
    TestbedError
        If a step fails.
    """
    roots = Roots(folders, suite)
    machine.require(folders.cache, building=bool(roots.missing()))
    began = time.monotonic()
    with lock():
        folders.cache.mkdir(parents=True, exist_ok=True)
        roots.build(say)
        folders.state.mkdir(parents=True, exist_ok=True)
        settings = {"suite": suite, "shared_home": shared_home}
        (folders.state / "settings.json").write_text(json.dumps(settings))
        place = site(folders)
        with say(f"{len(PLAN)} hosts up on their own network"):
            net.make_switch()
            _make_homes(place)
            for name in PLAN:
                boot(place, roots, name)
            _forward(folders)
            hostsfile.write(hosts_lines(LOOPBACK, PLAN))
        start_all(place, say)
    with say(f"everything is up, in {time.monotonic() - began:.1f} s"):
        pass
    return place


def boot(place: Site, roots: Roots, name: str) -> None:
    """Bring one host up, without its services."""
    plan, host = ALL_HOSTS[name], place.hosts[name]
    net.plug_in(name, plan)
    if host.pid() is not None:
        return
    homes = place.folders.homes if plan.homes and place.shared_home else None
    host.boot([roots.path(layer) for layer in plan.layers], homes=homes)
    loopback = ["127.0.0.1 localhost", "::1 localhost"]
    lines = [*loopback, *hosts_lines(NETWORK, ALL_HOSTS)]
    # Written in place: some daemons hold the file open.
    host.path("/etc/hosts").write_text("\n".join(lines) + "\n")
    host.write("/etc/resolv.conf", "")
    tls = place.folders.cache / "tls" / name
    if not (tls / "host.crt").exists() or _older(tls / "host.crt", place.folders.ca_certificate):
        make_certificate(place.folders.authority, tls, [fqdn(name), name])
    host.write("/etc/roost/tls/host.crt", (tls / "host.crt").read_bytes())
    host.write("/etc/roost/tls/host.key", (tls / "host.key").read_bytes(), mode=0o600)
    host.write("/etc/roost/tls/ca.crt", place.folders.ca_certificate.read_bytes())
    if plan.homes and not place.shared_home:
        _fill_homes(place, host.path("/home"))


def _older(path: Path, other: Path) -> bool:
    return path.stat().st_mtime < other.stat().st_mtime


def _make_homes(place: Site) -> None:
    place.folders.homes.mkdir(mode=0o755, exist_ok=True)
    _fill_homes(place, place.folders.homes)


def _fill_homes(place: Site, folder: Path) -> None:
    for person in place.people:
        home = folder / person.name
        if not home.exists():
            home.mkdir(mode=0o700)
            os.chown(home, person.uid, person.uid)


def start_all(place: Site, say: Say) -> None:
    """Start every service that is not ready; those that wait for nothing start side by side."""
    services = {service.name: service for service in all_services(place)}
    done: set[str] = set()
    with ThreadPoolExecutor(max_workers=4) as workers:
        while len(done) < len(services):
            able = [
                service
                for service in services.values()
                if service.name not in done and set(service.after) <= done
            ]
            if not able:
                left = ", ".join(sorted(set(services) - done))
                raise TestbedError(f"These services wait for one another: {left}")
            list(workers.map(lambda service: start_service(place, service, say), able))
            done |= {service.name for service in able}


def start_service(place: Site, service: Service, say: Say) -> None:
    """Start one service unless it is ready, and wait until it is.

    Raises
    ------
    TestbedError
        If it is not ready in its time; with the end of its log.
    """
    host = place.hosts[service.host]
    if service.ready(host):
        return
    with say(f"{service.name} on {service.host} is ready"):
        service.start(host)
        until = time.monotonic() + service.timeout
        while not service.ready(host):
            if time.monotonic() > until:
                raise TestbedError(
                    f"{service.name} on {service.host} was not ready within "
                    f"{service.timeout:.0f} s. Its log ends:\n" + log_tail(place, service)
                )
            time.sleep(0.1)


def stop_service(place: Site, service: Service) -> None:
    """Stop one service."""
    host = place.hosts[service.host]
    if service.stop is not None:
        service.stop(host)
    else:
        host.stop(service.name)


def find_service(place: Site, name: str) -> Service:
    """Return a service by name.

    Raises
    ------
    TestbedError
        If there is none; names those that there are.
    """
    services = {service.name: service for service in all_services(place)}
    if name not in services:
        raise TestbedError(f"There is no service {name}; there are: {', '.join(services)}.")
    return services[name]


def log_tail(place: Site, service: Service, lines: int = 15) -> str:
    """Return the end of a service's own log."""
    path = place.hosts[service.host].logs / f"{service.name}.log"
    if not path.exists():
        return f"(no {path})"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


# -- the forwarder ---------------------------------------------------------------------------------


def _forward(folders: Folders) -> None:
    if _forwarder(folders) is not None:
        return
    routes = [
        f"{LOOPBACK}.{PLAN[name].octet}:{port}={PLAN[name].address}:{port}"
        for name, port in FORWARDED.items()
    ]
    folders.logs.mkdir(parents=True, exist_ok=True)
    with (folders.logs / "forward.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", str(REPOSITORY / "testbed/forward.py")),
                *(SWITCH, *routes),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    (folders.state / "forwarder").write_text(str(process.pid))


def _forwarder(folders: Folders) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        pid = int((folders.state / "forwarder").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if str(REPOSITORY / "testbed/forward.py").encode() in words:
            return pid
    return None


# -- down ------------------------------------------------------------------------------------------


def down(folders: Folders, say: Say) -> None:
    """Take everything down, from any half state; only logs and the cache stay."""
    with lock(), say("everything is down"):
        pid = _forwarder(folders)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        place = site(folders)
        for host in place.hosts.values():
            host.kill()
        _kill_strays(folders)
        for name in net.namespaces():
            net.unplug(name)
        remove_groups()
        hostsfile.write([])
        for name in ("hosts", "secrets", "home"):
            shutil.rmtree(folders.state / name, ignore_errors=True)
        for name in ("settings.json", "forwarder"):
            (folders.state / name).unlink(missing_ok=True)
    LOCK.unlink(missing_ok=True)


def _kill_strays(folders: Folders) -> None:
    # A host that a killed `up` had begun but not yet written down: its processes stand in the
    # network namespaces that we made, and nowhere else.
    for name in net.namespaces():
        listed = subprocess.run(
            ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
        )
        for pid in listed.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    until = time.monotonic() + 10
    while time.monotonic() < until and _mounts_left(folders):
        time.sleep(0.05)


def _mounts_left(folders: Folders) -> bool:
    return str(folders.state / "hosts") in Path("/proc/self/mounts").read_text()


def purge(folders: Folders, say: Say) -> None:
    """Remove the cache too."""
    with say("cache and logs removed"):
        shutil.rmtree(folders.cache, ignore_errors=True)
        shutil.rmtree(folders.state, ignore_errors=True)
