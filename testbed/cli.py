"""The command line: ``python -m testbed COMMAND``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from testbed import lifecycle, net
from testbed.errors import TestbedError, Unfit
from testbed.layout import FORWARDED, LOOPBACK, PLAN, Folders
from testbed.machine import NEEDS_ROOT
from testbed.services import all_services
from testbed.steps import Printer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m testbed",
        description="A real pool in a box: HTCondor, Slurm, an identity provider and the hub.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser
    up = add("up", help="bring everything up that is not up")
    up.add_argument("--suite", default="trixie", help="Debian suite of the hosts (trixie)")
    up.add_argument(
        "--no-shared-home",
        dest="shared_home",
        action="store_false",
        help="give every node homes of its own",
    )
    up.add_argument(
        "--no-services", dest="services", action="store_false", help="hosts and network only"
    )
    add("down", help="take everything down; the cache stays")
    add("purge", help="remove the cache as well")
    add("status", help="show hosts and services")
    add("paths", help="print where things are, as JSON")
    run = add("exec", help="run a command in a host: exec HOST [--user NAME] -- CMD ...")
    run.add_argument("--user", help="as this account (root)")
    run.add_argument("host", choices=sorted(lifecycle.ALL_HOSTS))
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="-- CMD")
    for name, text in (("cut", "pull a host's network cable"), ("heal", "plug it in again")):
        add(name, help=text).add_argument("host", choices=sorted(PLAN))
    for name, text in (("stop", "stop a service"), ("start", "start a service")):
        add(name, help=text).add_argument("service")
    logs = add("logs", help="show a service's log")
    logs.add_argument("service")
    logs.add_argument("-f", dest="follow", action="store_true", help="go on as it grows")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command != "paths":
            _need_root()
        return _COMMANDS[options.command](options)
    except Unfit as unfit:
        print(unfit, file=sys.stderr)
        return 2
    except TestbedError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _up(options: argparse.Namespace) -> int:
    lifecycle.up(
        Folders.default(),
        Printer(),
        suite=options.suite,
        shared_home=options.shared_home,
        services=options.services,
    )
    return 0


def _need_root() -> None:
    if os.geteuid() != 0:
        raise Unfit(NEEDS_ROOT)


def _down(_options: argparse.Namespace) -> int:
    lifecycle.down(Folders.default(), Printer())
    return 0


def _purge(_options: argparse.Namespace) -> int:
    lifecycle.down(Folders.default(), Printer())
    lifecycle.purge(Folders.default(), Printer())
    return 0


def _status(_options: argparse.Namespace) -> int:
    place = lifecycle.site(Folders.default())
    services = all_services(place)
    for name, host in place.hosts.items():
        up = host.pid() is not None
        if not up and name not in PLAN:
            continue
        state = "down" if not up else "cut off" if net.is_cut(name) else "up"
        print(f"{name:6} {host.address:13} {state}")
        for service in services:
            if service.host == name:
                ready = up and service.ready(host)
                age = host.service_age(service.name) if up else None
                since = f"for {_duration(age)}" if age is not None else ""
                print(
                    f"  {service.name:18} {'ready' if ready else 'not ready':12} {since}".rstrip()
                )
    return 0


def _duration(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def _paths(_options: argparse.Namespace) -> int:
    folders = Folders.default()
    found = {
        "ca": folders.ca_certificate,
        "logs": folders.logs,
        "secrets": folders.secrets,
        "cache": folders.cache,
        "state": folders.state,
    }
    addresses = {name: f"{LOOPBACK}.{PLAN[name].octet}" for name in FORWARDED}
    shown = {name: str(path) for name, path in found.items()} | {"addresses": addresses}
    print(json.dumps(shown))
    return 0


def _exec(options: argparse.Namespace) -> int:
    words, user = options.words, options.user
    if words[:1] == ["--user"]:
        user, words = words[1], words[2:]
    words = words[1:] if words[:1] == ["--"] else words
    if not words:
        raise TestbedError("exec needs a command: python -m testbed exec HOST -- CMD ...")
    return lifecycle.site(Folders.default()).hosts[options.host].attach(words, user=user)


def _cut(options: argparse.Namespace) -> int:
    net.cut(options.host)
    return 0


def _heal(options: argparse.Namespace) -> int:
    net.heal(options.host)
    return 0


def _stop(options: argparse.Namespace) -> int:
    place = lifecycle.site(Folders.default())
    lifecycle.stop_service(place, lifecycle.find_service(place, options.service))
    return 0


def _start(options: argparse.Namespace) -> int:
    place = lifecycle.site(Folders.default())
    lifecycle.start_service(place, lifecycle.find_service(place, options.service), Printer())
    return 0


def _logs(options: argparse.Namespace) -> int:
    place = lifecycle.site(Folders.default())
    service = lifecycle.find_service(place, options.service)
    path = lifecycle.log_path(place, service)
    if not path.exists():
        raise TestbedError(f"{service.name} has no log yet ({path}).")
    command = ["tail", "-n", "+1", *(["-f"] if options.follow else []), str(path)]
    return subprocess.run(command, check=False).returncode


_COMMANDS = {
    "up": _up,
    "down": _down,
    "purge": _purge,
    "status": _status,
    "paths": _paths,
    "exec": _exec,
    "cut": _cut,
    "heal": _heal,
    "stop": _stop,
    "start": _start,
    "logs": _logs,
}
