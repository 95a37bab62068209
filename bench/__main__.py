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
from typing import TYPE_CHECKING, Any

import aiohttp

from bench import peers, report
from bench.measure import Side, interleaved, patiently
from bench.page import measure as page
from bench.page import report as page_report
from bench.renewal import measure as renewal
from bench.scale import measure as scale
from bench.scale import report as scale_report
from testbed import lifecycle
from testbed.demo.person import Person, Refused
from testbed.errors import TestbedError, Unfit
from testbed.layout import NAME, REPOSITORY, Folders, Site
from testbed.names import find_the_named_testbed
from testbed.steps import Printer

if TYPE_CHECKING:
    from testbed.host import Host

USER = "alice"
RESULTS = REPOSITORY / "bench/results.json"
PARTS = ("spawn", "crowd", "many", "page", "renewal")
"""Click to ready; a hundred clicks at once; a thousand sessions that just run; two hundred people
with the spawn page open; five thousand grants that are kept fresh, which needs no testbed."""


def main() -> int:
    """Measure; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--sessions", type=int, default=1000, help="sessions that just run")
    parser.add_argument("--only", choices=PARTS, help="one part; results.json keeps the others")
    parser.add_argument("--grants", type=int, default=5000, help="grants that are kept fresh")
    parser.add_argument("--life", type=float, default=600, help="seconds that their tokens live")
    parser.add_argument("--minutes", type=float, default=20, help="how long they are watched")
    options = parser.parse_args()
    if options.rounds < 1 or options.sessions < 1:
        parser.error("--rounds and --sessions must be 1 or more")
    if NAME != "roost" and options.only != "page":
        # The peers' names are those of the first testbed.
        print("the benchmark needs the testbed `roost`: unset ROOST_TESTBED_NAME", file=sys.stderr)
        return 2
    find_the_named_testbed()
    # Told to end, take down what was started, however told.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    renewed = _measure_renewal(options) if options.only in (None, "renewal") else {}
    if options.only == "renewal":
        return _write(renewed, options) if renewed else 0
    folders = Folders.default()
    was_up = lifecycle.site(folders).hosts["hub"].pid() is not None
    try:
        site = lifecycle.up(folders, Printer(), suite="trixie")
        found = _measure_all(site, options)
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
    return _write(found | renewed, options)


def _write(found: dict[str, Any], options: argparse.Namespace) -> int:
    kept = json.loads(RESULTS.read_text()) if options.only and RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(kept | found, indent=2) + "\n")
    print(f"\nwritten to {RESULTS.relative_to(REPOSITORY)}")
    return 0


def _measure_renewal(options: argparse.Namespace) -> dict[str, Any]:
    size = renewal.Options(grants=options.grants, life=options.life, minutes=options.minutes)
    commit = _commit()  # the one that is measured; others may come meanwhile
    found = renewal.run(size, lambda text: print(text, flush=True))
    figures = renewal.results(found)
    for key, figure in figures.items():
        print(f"{key:34}  {figure}")
    print(f"of {found['refreshes']} renewals")
    if not size.full:
        print("smaller than results.json promises: not written there")
        return {}
    return figures | {"renewal": found, "renewal_at_commit": commit}


def _measure_all(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    parts = (options.only,) if options.only else tuple(p for p in PARTS if p != "renewal")
    commit = _commit()
    found: dict[str, Any] = {"machine": _machine()}
    found |= {f"{part}_at_commit": commit for part in parts}
    if "spawn" in parts:
        with peers.running(site) as host:
            runs, phases = asyncio.run(_measure(site, host, options.rounds))
        ratios = report.results(runs)
        found |= ratios | {"phases_seconds": phases}
        print(f"\n{report.table(runs)}\n\n{report.ratios(ratios)}\n\n{report.phases(phases)}\n")
    size = scale.Options(rounds=options.rounds, sessions=options.sessions)
    for part, measure in (("crowd", scale.crowd), ("many", scale.many)):
        if part in parts:
            measured = measure(site, size, lambda text: print(text, flush=True))
            figures = scale_report.results(measured)
            found |= figures | {part: measured}
            print(f"\n{scale_report.table(figures)}")
    if "page" in parts:
        found |= _measure_page(site)
    return found


def _measure_page(site: Site) -> dict[str, Any]:
    seen = page.run(site, page.Options(), lambda text: print(text, flush=True))
    figures = page_report.results(seen)
    print(f"\n{scale_report.table(figures)}")
    return figures | {"page": seen}


async def _measure(
    site: Site, host: Host, rounds: int
) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
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
        gone, up = partial(peers.empty, host, peer), partial(peers.last_up, host, peer)
        late = peer.name == "local"
        wait = partial(peers.into_the_cycle, host, peer) if peer.name == "condor-default" else None
        sides.append(Side(peer.name, person, "", gone, rounds, up if late else None, wait))
    try:
        for person in people:
            await patiently(person)
        runs = await interleaved(sides, lambda text: print(text, flush=True))
        return runs, {side.name: report.phases_of(side.starts) for side in sides[:2]}
    finally:
        for person in people:
            await person.__aexit__(None, None, None)


def _machine() -> dict[str, object]:
    return {"cores": os.cpu_count(), "kernel": platform.release()}


def _commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
