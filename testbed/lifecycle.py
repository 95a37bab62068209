"""Bring the testbed up and take it down, from whatever state it is in."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from testbed import hostsfile, locks, machine, net, processes
from testbed.authority import make_certificate
from testbed.errors import TestbedError
from testbed.host import Host, remove_groups
from testbed.jobs import in_order
from testbed.layout import (
    BENCH_PLAN,
    FORWARDED,
    LOOPBACK,
    PLAN,
    REPOSITORY,
    SWITCH,
    Folders,
    Site,
    fqdn,
    hosts_lines,
    machine_lines,
)
from testbed.root import Roots
from testbed.services import all_services

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.services.base import Service
    from testbed.steps import Say

ALL_HOSTS = PLAN | BENCH_PLAN


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


def up(
    folders: Folders, say: Say, *, suite: str, shared_home: bool = True, services: bool = True
) -> Site:
    """Bring everything up that is not up; harmless when all is.

    Parameters
    ----------
    folders
        Where the testbed keeps things.
    say
        Told of each step.
    suite
        Debian suite of the hosts.
    shared_home
        Whether the nodes have one ``/home`` between them.
    services
        Whether to start the services, too.

    Raises
    ------
    Unfit
        If this machine cannot carry it.  Nothing has been changed then.
    TestbedError
        If a step fails.
    """
    roots = Roots(folders, suite)
    machine.require(folders, building=bool(roots.missing()))
    began = time.monotonic()
    with locks.one_command():
        folders.cache.mkdir(parents=True, exist_ok=True)
        with locks.wait_for(folders.cache / "lock"):
            roots.build(say)
        folders.state.mkdir(parents=True, exist_ok=True)
        _keep_settings(folders, {"suite": suite, "shared_home": shared_home})
        place = site(folders)
        with say(f"{len(PLAN)} hosts up on their own network"):
            with locks.wait_for(locks.SHARED):
                net.make_switch()
                hostsfile.write(machine_lines(PLAN))
            _make_homes(place)
            for name in PLAN:
                boot(place, roots, name)
            _forward(folders)
        stale = [name for name in PLAN if not place.hosts[name].is_of(root_of(roots, name))]
        if stale:
            print(f"older than their recipe, until a `down` and `up`: {', '.join(stale)}")
        if services:
            start_all(place, say)
    with say(f"everything is up, in {time.monotonic() - began:.1f} s"):
        pass
    return place


def boot(place: Site, roots: Roots, name: str) -> None:
    """Bring one host up, without its services."""
    plan, host = ALL_HOSTS[name], place.hosts[name]
    if host.pid() is None:
        host.kill()  # what a killed `up` had begun and not written down
        net.plug_in(name, plan)
        homes = place.folders.homes if plan.homes and place.shared_home else None
        host.boot(root_of(roots, name), homes=homes, source=plan.source)
    furnished = host.folder / "furnished"
    if not furnished.exists():
        _furnish(place, host)
        furnished.touch()


def root_of(roots: Roots, name: str) -> list[Path]:
    """Return the layers of a host's root, topmost first."""
    return [roots.path(layer) for layer in ALL_HOSTS[name].layers]


def _keep_settings(folders: Folders, settings: dict[str, object]) -> None:
    place = site(folders)
    running = any(host.pid() is not None for host in place.hosts.values())
    if running and settings != {"suite": place.suite, "shared_home": place.shared_home}:
        raise TestbedError(
            f"The testbed is up with suite {place.suite} and "
            f"{'one /home' if place.shared_home else 'separate homes'}; "
            "run `python -m testbed down` before you change that."
        )
    (folders.state / "settings.json").write_text(json.dumps(settings))


def _furnish(place: Site, host: Host) -> None:
    """Write what is a host's own: names, certificate, homes."""
    name = host.name
    loopback = ["127.0.0.1 localhost", "::1 localhost"]
    lines = [*loopback, *hosts_lines(ALL_HOSTS)]
    # Written in place: some daemons hold the file open.
    host.path("/etc/hosts").write_text("\n".join(lines) + "\n")
    host.write("/etc/resolv.conf", "")
    tls = place.folders.cache / "tls" / name
    if not (tls / "host.crt").exists() or _older(tls / "host.crt", place.folders.ca_certificate):
        make_certificate(place.folders.authority, tls, [fqdn(name), name])
    host.write("/etc/roost/tls/host.crt", (tls / "host.crt").read_bytes())
    host.write("/etc/roost/tls/host.key", (tls / "host.key").read_bytes(), mode=0o600)
    host.write("/etc/roost/tls/ca.crt", place.folders.ca_certificate.read_bytes())
    if ALL_HOSTS[name].homes and not place.shared_home:
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
    """Start every service that is not ready, each as soon as what it waits for is ready."""
    services = {service.name: service for service in all_services(place)}
    in_order(
        {name: service.after for name, service in services.items()},
        lambda name: start_service(place, services[name], say),
    )


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


def log_path(place: Site, service: Service) -> Path:
    """Return where the machine sees a service's log."""
    host = place.hosts[service.host]
    return host.path(service.log) if service.log else host.logs / f"{service.name}.log"


def log_tail(place: Site, service: Service, lines: int = 15) -> str:
    """Return the end of a service's log."""
    path = log_path(place, service)
    if not path.exists():
        return f"(no {path})"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


# -- the forwarder ---------------------------------------------------------------------------------


def _forward(folders: Folders) -> None:
    ports = [(f"{LOOPBACK}.{PLAN[name].octet}", port) for name, port in FORWARDED.items()]
    pid = _forwarder(folders)
    if pid is not None:
        if processes.same_namespace(pid, "net", net.FOLDER / SWITCH):
            return
        _end_forwarder(folders)
    routes = [
        f"{address}:{port}={PLAN[name].address}:{port}"
        for name, (address, port) in zip(FORWARDED, ports, strict=True)
    ]
    folders.logs.mkdir(parents=True, exist_ok=True)
    log = folders.logs / "forward.log"
    program = str(REPOSITORY / "testbed/forward.py")
    pid = processes.detach([sys.executable, "-I", program, SWITCH, *routes], log)
    processes.remember(folders.state / "forwarder", pid)
    until = time.monotonic() + 10
    while not all(_listens(*port) for port in ports):
        if _forwarder(folders) is None or time.monotonic() > until:
            raise TestbedError(f"The forwarder did not come up: {log.read_text().strip()[-300:]}")
        time.sleep(0.02)


def _listens(address: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((address, port), timeout=5).close()
        return True
    return False


def _forwarder(folders: Folders) -> int | None:
    return processes.recall(folders.state / "forwarder")


def _end_forwarder(folders: Folders) -> None:
    pid = _forwarder(folders)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + 5
    while _forwarder(folders) is not None and time.monotonic() < until:
        time.sleep(0.02)


# -- down ------------------------------------------------------------------------------------------


def down(folders: Folders, say: Say) -> None:
    """Take everything down, from any half state; only logs and the cache stay."""
    with locks.one_command(), say("everything is down"):
        _end_forwarder(folders)
        place = site(folders)
        for host in place.hosts.values():
            host.kill()
        for pid in net.processes(SWITCH):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for name in net.namespaces():
            net.unplug(name)
        remove_groups()
        with locks.wait_for(locks.SHARED):
            net.tidy()
            hostsfile.write([])
        for name in ("hosts", "secrets", "home"):
            shutil.rmtree(folders.state / name, ignore_errors=True)
        for name in ("settings.json", "forwarder"):
            (folders.state / name).unlink(missing_ok=True)


def purge(folders: Folders, say: Say) -> None:
    """Remove the logs and the cache too.

    Raises
    ------
    TestbedError
        If the cache has to stay, since a testbed of another name runs from it.
    """
    with say("logs removed"):
        shutil.rmtree(folders.state, ignore_errors=True)
    if processes.mounts_from(folders.cache):
        raise TestbedError(
            f"{folders.cache} stays: another testbed runs from it. Take that down first "
            "(ROOST_TESTBED_NAME)."
        )
    with say("cache removed"):
        shutil.rmtree(folders.cache, ignore_errors=True)
