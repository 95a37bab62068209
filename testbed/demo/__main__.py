"""``python -m testbed.demo``: the testbed up, the main job flown once, then kept serving."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time

from testbed import lifecycle
from testbed.demo.flight import StepFailed, fly
from testbed.demo.person import Person, Refused
from testbed.errors import TestbedError, Unfit
from testbed.layout import Folders, Site
from testbed.names import find_the_named_testbed
from testbed.steps import Printer

PASSENGER = "alice"


def main() -> int:
    """Run the demo; return the exit status: 0 if every step of the flight was seen to work."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the flight")
    options = parser.parse_args()
    find_the_named_testbed()
    # A demo that is told to end takes its testbed along, however it is told.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folders = Folders.default()
    was_up = lifecycle.site(folders).hosts["hub"].pid() is not None
    try:
        site = lifecycle.up(folders, Printer(), suite="trixie")
        status = asyncio.run(_fly(site))
        if not options.once:
            _serve(site)
    except Unfit as unfit:
        print(unfit, file=sys.stderr)
        return 2
    except TestbedError as error:
        print(error, file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    finally:
        if not was_up and folders.state.exists():
            lifecycle.down(folders, Printer())
    return status


async def _fly(site: Site) -> int:
    passenger = next(person for person in site.people if person.name == PASSENGER)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    print(f"\nthe main job, as {PASSENGER}:", flush=True)
    async with Person(
        passenger.name,
        passenger.password,
        hub=site.hub_url,
        ca_file=str(site.folders.ca_certificate),
    ) as person:
        try:
            await fly(person, site.issuer, passenger.subject or "", say)
        except (Refused, StepFailed, TimeoutError) as error:
            print(f"\nthe flight failed: {error}", file=sys.stderr)
            return 1
    print("every step was seen to work\n", flush=True)
    return 0


def _serve(site: Site) -> None:
    names = ", ".join(f"{p.name} / {p.password}" for p in site.people if p.subject)
    print(
        f"Log in at {site.hub_url} as one of: {names}\n"
        f"Your browser must trust {site.folders.ca_certificate}, or be told to go on.\n"
        "Ctrl-C ends it and cleans up.",
        flush=True,
    )
    signal.pause()


if __name__ == "__main__":
    sys.exit(main())
