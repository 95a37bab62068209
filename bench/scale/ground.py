"""The testbed, made ready for a crowd: slots for all, and the hub that is measured."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING

from testbed import lifecycle
from testbed.errors import TestbedError
from testbed.layout import REPOSITORY
from testbed.services import condor, hub, iam
from testbed.steps import Printer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testbed.layout import Site

STATE = "/var/lib/roost-bench"
TINY = ".bench/tiny.pl"
"""Where the crowd's server lies, below everybody's shared ``/home``."""
LIFETIME = 3600
"""Seconds that access tokens are good for, as INDIGO IAM has it; the testbed's are short."""
_CONFIG = f"{condor.CONFIG}/95-scale.conf"
# As the files are shipped (00-names.conf.example); the testbed's own intervals are for tests that
# wait for the loss of a node.
_POOL = """\
ROOST_NOTEBOOKS_PER_CORE = {per_core}
ROOST_NOTEBOOK_MEMORY = 1280
ROOST_SESSIONS_PER_USER = {sessions}
ROOST_LEASE = 2400
ROOST_UPDATE_INTERVAL = 60
"""


@contextlib.contextmanager
def crowded(site: Site, sessions: int, *, lifetime: int = LIFETIME) -> Iterator[None]:
    """Have a slot for each of so many sessions, and nobody's own hub in the way."""
    say = Printer()
    nodes = [site.hosts[name] for name in condor.EXECUTE_POINTS]
    per_core = -(-sessions // (len(nodes) * condor.CORES))
    text = _POOL.format(per_core=per_core, sessions=sessions)
    tiny = site.folders.homes / TINY
    try:
        with say(f"{per_core * condor.CORES} slots on each of {len(nodes)} nodes"):
            for name in ("hub", "proxy"):
                lifecycle.stop_service(site, lifecycle.find_service(site, name))
            tiny.parent.mkdir(exist_ok=True)
            tiny.write_text((REPOSITORY / "bench/scale/tiny.pl").read_text())
            _configure(site, text)
        _provide(site, lifetime)
        host = site.hosts["hub"]
        host.write("/var/lib/roost-bench.pl", tiny.read_text())
        host.spawn("tiny", ["perl", "/var/lib/roost-bench.pl"], env={"PORT": "9999"})
        yield
    finally:
        if site.hosts["hub"].pid() is not None:
            stop_hub(site)
            site.hosts["hub"].stop("tiny")
            tiny.unlink(missing_ok=True)
            try:
                _remove_jobs(site)
                _configure(site, None)
                _provide(site, None)
                lifecycle.start_all(site, say)
            except TestbedError as error:  # what was measured stands
                print(f"bring the testbed up anew; it could not be put back: {error}")


def _remove_jobs(site: Site) -> None:
    """Empty the queue, as its admin: a hub that is stopped leaves its sessions."""
    access_point = site.hosts[condor.ACCESS_POINT]
    for how in ([], ["-forcex"]):
        access_point.run(["condor_rm", "-all", *how], check=False)


def _configure(site: Site, text: str | None) -> None:
    for name in (condor.ACCESS_POINT, *condor.EXECUTE_POINTS):
        host = site.hosts[name]
        if text is None:
            host.path(_CONFIG).unlink(missing_ok=True)
        else:
            host.write(_CONFIG, text)
        host.run(["condor_reconfig"], check=False)
    for name in condor.EXECUTE_POINTS:  # the number of slots is read at its start only
        service = lifecycle.find_service(site, f"startd@{name}")
        lifecycle.stop_service(site, service)
        there = partial(service.ready, site.hosts[name])
        # It ends its jobs first, the last of a crowd that is just being removed among them.
        until(lambda there=there: not there(), f"{service.name} did not end", limit=240)
        lifecycle.start_service(site, service, Printer())


def _provide(site: Site, lifetime: int | None) -> None:
    """Restart the identity provider with another lifetime of access tokens."""
    service = lifecycle.find_service(site, "iam")
    lifecycle.stop_service(site, service)
    host = site.hosts["iam"]
    iam.begin(site, host, lifetime=lifetime)
    until(partial(service.ready, host), "the identity provider did not come up")


def start_hub(site: Site) -> None:
    """Start the hub that is measured, on a database of its own."""
    host = site.hosts["hub"]
    host.run(["rm", "-rf", STATE])
    host.run(["install", "-d", "-m", "700", "-o", "roost", STATE])
    hub.begin(site, host, config=f"{hub.SOURCE}/bench/scale/hub_config.py", state=STATE)
    ready = partial(lifecycle.find_service(site, "hub").ready, host)
    until(ready, "the hub that is measured did not come up: see `python -m testbed logs hub`")


def stop_hub(site: Site) -> None:
    """End it, and its proxy with it."""
    site.hosts["hub"].stop("hub")


def until(condition: Callable[[], bool], sentence: str, limit: float = 60) -> None:
    """Wait for a condition, or end with a sentence after so many seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise TestbedError(sentence)
        time.sleep(0.3)
