"""``python -m bench``: click to ready of Roost and its peers; writes ``bench/results.json``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from bench import peers, report
from bench.measure import Side, interleaved
from testbed import lifecycle
from testbed.demo.person import Person, Refused
from testbed.errors import TestbedError, Unfit
from testbed.layout import NAME, REPOSITORY, Folders, Site
from testbed.steps import Printer

if TYPE_CHECKING:
    from testbed.host import Host

USER = "alice"


def main() -> int:
    """Measure; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--default-cycle-rounds",
        type=int,
        default=3,
        help="rounds on HTCondor's default cycle, which take up to a minute each",
    )
    options = parser.parse_args()
    if options.rounds < 1 or options.default_cycle_rounds < 0:
        parser.error("--rounds must be 1 or more, --default-cycle-rounds 0 or more")
    if NAME != "roost":
        # The names in people's browsers are those of the first testbed.
        print("the benchmark needs the testbed `roost`: unset ROOST_TESTBED_NAME", file=sys.stderr)
        return 2
    # Told to end, take down what was started, however told.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folders = Folders.default()
    was_up = lifecycle.site(folders).hosts["hub"].pid() is not None
    try:
        site = lifecycle.up(folders, Printer(), suite="trixie")
        with peers.running(site) as host:
            runs = asyncio.run(_measure(site, host, options.rounds, options.default_cycle_rounds))
    except Unfit as unfit:
        print(unfit, file=sys.stderr)
        return 2
    except (TestbedError, Refused, TimeoutError, aiohttp.ClientError) as error:
        print(f"the measurement failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    finally:
        if not was_up and folders.state.exists():
            lifecycle.down(folders, Printer())
    found = report.results(runs, _machine())
    Path(REPOSITORY / "bench/results.json").write_text(json.dumps(found, indent=2) + "\n")
    print(f"\n{report.table(runs)}\n\n{report.ratios(found)}\n\nwritten to bench/results.json")
    return 0


async def _measure(site: Site, host: Host, rounds: int, slow: int) -> dict[str, list[float]]:
    password = next(person.password for person in site.people if person.name == USER)
    ca_file = str(site.folders.ca_certificate)
    access_point, controller = site.hosts["ap"], site.hosts["ctl"]

    def htcondor_empty() -> bool:
        listed = access_point.run(["condor_q", "-allusers", "-af", "Owner"]).stdout
        return USER not in listed.split()

    def slurm_empty() -> bool:
        return USER not in controller.run(["squeue", "-h", "-o", "%u"]).stdout.split()

    people: list[Person] = [Person(USER, password, hub=site.hub_url, ca_file=ca_file)]
    sides = [
        Side("roost-htcondor", people[0], "interactive", htcondor_empty, rounds),
        Side("roost-slurm", people[0], "gpu", slurm_empty, rounds),
    ]
    for peer in peers.PEERS:
        person = peers.PeerPerson(USER, password, hub=peers.url(peer), ca_file=ca_file)
        people.append(person)
        times = slow if peer.name == "condor-default" else rounds
        gone, up = partial(peers.empty, host, peer), partial(peers.last_up, host, peer)
        late = peer.name == "local"
        sides.append(Side(peer.name, person, "", gone, times, up if late else None))
    try:
        for person in people:
            await _patiently(person)
        return await interleaved(sides, lambda text: print(text, flush=True))
    finally:
        for person in people:
            await person.__aexit__(None, None, None)


async def _patiently(person: Person) -> None:
    for _ in range(100):
        try:
            await person.login()
        except (aiohttp.ClientError, Refused):
            await asyncio.sleep(0.3)  # its hub is still coming up
        else:
            return
    await person.login()


def _machine() -> dict[str, object]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {"commit": commit, "cores": os.cpu_count(), "kernel": platform.release()}


if __name__ == "__main__":
    sys.exit(main())
