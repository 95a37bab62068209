"""The measurement: one person with the spawn page open, then two hundred."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.page.report import spread
from bench.scale import ground
from bench.scale.crowd import gauge
from bench.scale.process import go_first, usage
from bench.scale.report import asked_per_minute
from testbed import lifecycle
from testbed.demo.person import Person as Caller
from testbed.errors import TestbedError
from testbed.layout import REPOSITORY, Person
from testbed.services import hub, iam
from testbed.steps import Printer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testbed.layout import Site

    Say = Callable[[str], None]

CONFIG = f"{hub.SOURCE}/bench/page/hub_config.py"
SETTLE = 15.0
"""Seconds after the last login before anything is counted: it is as long as a cluster that is
watched at its usual pace takes to be quiet."""


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured.

    Attributes
    ----------
    viewers
        People with the page open.
    alone, together
        Seconds for which one of them looks, and for which all do.
    """

    viewers: int = 200
    alone: float = 60.0
    together: float = 90.0


def run(site: Site, options: Options, say: Say) -> dict[str, Any]:
    """Measure; return what was found."""
    with _hub(site, options.viewers, say) as crowded:
        return asyncio.run(_measure(crowded, options, say))


@contextlib.contextmanager
def _hub(site: Site, viewers: int, say: Say) -> Iterator[Site]:
    """Have a hub that so many people can log in at, instead of the testbed's own."""
    people = [*site.people, *map(_person, range(viewers))]
    crowded = replace(site, people=people)
    host = site.hosts["hub"]
    try:
        for name in ("hub", "proxy"):
            lifecycle.stop_service(site, lifecycle.find_service(site, name))
        _provide(site, people)
        host.run(["rm", "-rf", ground.STATE])
        host.run(["install", "-d", "-m", "700", "-o", "roost", ground.STATE])
        hub.begin(crowded, host, config=CONFIG, state=ground.STATE)
        ready = partial(lifecycle.find_service(site, "hub").ready, host)
        ground.until(ready, "the hub that is measured did not come up")
        go_first(host, "hub")
        say(f"a hub for {viewers} viewers is up")
        yield crowded
    finally:
        if host.pid() is not None:
            ground.stop_hub(site)
            try:
                _provide(site, None)
                lifecycle.start_all(site, Printer())
            except TestbedError as error:  # what was measured stands
                print(f"bring the testbed up anew; it could not be put back: {error}")


def _person(number: int) -> Person:
    """Return somebody who only looks: nodes do not know them."""
    return Person(
        name=f"viewer{number:03}",
        uid=0,
        subject=f"00000000-0000-4000-8000-{number:012}",
        password=f"viewer-{number}",
        groups=("/roost", "/roost/users", "/cms/gpu"),
        email=f"viewer{number:03}@roost.test",
        admin=False,
    )


def _provide(site: Site, people: list[Person] | None) -> None:
    """Restart the identity provider with these accounts, or with the testbed's own."""
    service, host = lifecycle.find_service(site, "iam"), site.hosts["iam"]
    lifecycle.stop_service(site, service)
    if people is None:
        iam.begin(site, host)
    else:
        iam.begin(site, host, lifetime=ground.LIFETIME, people=people)
    ground.until(partial(service.ready, host), "the identity provider did not come up")


async def _measure(site: Site, options: Options, say: Say) -> dict[str, Any]:
    ca_file = str(site.folders.ca_certificate)
    alice = next(person for person in site.people if person.name == "alice")
    viewers = [(p.name, p.password) for p in site.people if p.name.startswith("viewer")]
    async with Caller(alice.name, alice.password, hub=site.hub_url, ca_file=ca_file) as caller:
        await caller.login()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.page.viewers"),
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=1 << 24,
        )
        try:
            who = {"hub": site.hub_url, "ca_file": ca_file, "people": viewers}
            await _ask(process, who)
            say(f"{len(viewers)} people have logged in")
            await asyncio.sleep(SETTLE)
            one = await _watch(site, caller, process, 1, options.alone)
            say(f"1 viewer: {one['load_ms']}, asked {one['asked_per_minute']} a minute")
            all_ = await _watch(site, caller, process, options.viewers, options.together)
            say(f"{options.viewers} viewers: {all_}")
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
    asked = {"1": one["asked_per_minute"], str(options.viewers): all_["asked_per_minute"]}
    return all_ | {"viewers": options.viewers, "asked_per_minute": asked}


async def _watch(
    site: Site, caller: Caller, process: asyncio.subprocess.Process, viewers: int, seconds: float
) -> dict[str, Any]:
    """Have people look; return what they saw, and what it cost."""
    host = site.hosts["hub"]
    before, asked_before = usage(host, "hub"), await gauge(caller, reset=True)
    seen = await _ask(process, {"viewers": viewers, "seconds": seconds})
    after, asked_after = usage(host, "hub"), await gauge(caller)
    if seen["failures"]:
        raise TimeoutError(f"{len(seen['failures'])} failures, such as {seen['failures'][0]}")
    return {
        "load_ms": spread(seen["loads"]),
        "refresh_ms": spread(seen["refreshes"]),
        "unchanged": seen["unchanged"],
        "hub_cpu_percent": round(before.percent_until(after), 1),
        "stall_ms": round(1000 * asked_after["stall_s"], 1),
        "asked_per_minute": asked_per_minute(
            asked_before["asked"], asked_after["asked"], after.at - before.at
        ),
    }


async def _ask(process: asyncio.subprocess.Process, what: Any) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(what).encode() + b"\n")
    await process.stdin.drain()
    line = await process.stdout.readline()
    if not line:
        raise TimeoutError(f"the viewers' process ended with {await process.wait()}")
    return json.loads(line)
