"""The measurement: crowds that start at once, and a thousand sessions that just run."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench import peers
from bench.measure import patiently
from bench.scale import ground
from bench.scale.crowd import Crowd, ServersFailed, gauge
from bench.scale.process import go_first, usage
from bench.scale.report import asked_per_minute
from testbed.demo.person import Person

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from testbed.host import Host
    from testbed.layout import Site

    Say = Callable[[str], None]

SETTLE = 30.0
"""Seconds after the last start before a crowd counts as one that just runs."""
ARRIVALS = 20
"""Clicks on their way at one time while the thousand arrive; of a crowd it is all."""
PEER_ROUNDS = 3
"""Crowds of batchspawner, which has no target."""
PEER_PORTION = 5
"""Servers of batchspawner that start together where they are to stay."""
SIDES: dict[str, dict[str, str]] = {"noop": {}, "roost": {"profile": "interactive"}}


@dataclass(frozen=True, slots=True)
class Steady:
    """Sessions that just run.

    Attributes
    ----------
    sessions
        How many.
    start_s
        Seconds from the first click until all were ready.
    cpu_percent
        CPU of the hub while they run, in percent of one core.
    kib_per_session
        What the hub's memory has grown by, from before the first click, for each.
    asked_per_minute, asked_per_minute_starting
        Questions to schedulers, by cluster; submits and removals are none.
    """

    sessions: int
    start_s: float
    cpu_percent: float
    kib_per_session: float
    asked_per_minute: dict[str, float]
    asked_per_minute_starting: dict[str, float]


@asynccontextmanager
async def people_of(
    site: Site, hub: str = "", kind: type[Person] = Person
) -> AsyncIterator[list[Person]]:
    """Log everybody in, at the testbed's hub or at another."""
    hub, ca_file = hub or site.hub_url, str(site.folders.ca_certificate)
    people = [
        # A connection that is kept may be closed just when the next call goes out on it.
        kind(person.name, person.password, hub=hub, ca_file=ca_file, keep_alive=False)
        for person in site.people
        if person.subject
    ]
    try:
        for person in people:
            await patiently(person)
        yield people
    finally:
        for person in people:
            await person.__aexit__(None, None, None)


async def stalls(crowds: Sequence[Crowd], size: int, rounds: int, say: Say) -> dict[str, Any]:
    """Start crowds one after the other, round about; return each round's stall and seconds."""
    found: dict[str, Any] = {crowd.side: {"stall_ms": [], "seconds": []} for crowd in crowds}
    numbers = range(size)
    for turn in range(rounds):
        first = turn % len(crowds)
        for crowd in [*crowds[first:], *crowds[:first]]:
            await asyncio.sleep(2)
            await gauge(crowd.people[0], reset=True)
            seconds = await crowd.start(numbers, say)
            stall = 1000 * (await gauge(crowd.people[0]))["stall_s"]
            found[crowd.side]["stall_ms"].append(round(stall, 1))
            found[crowd.side]["seconds"].append(round(seconds, 2))
            say(
                f"round {turn + 1}: {size} starts of {crowd.side} in {seconds:.1f} s, "
                f"longest stall {stall:.0f} ms"
            )
            await crowd.stop(numbers)
    return found


async def steady(
    crowd: Crowd,
    host: Host,
    service: str,
    size: int,
    window: float,
    say: Say,
    portion: int | None = None,
) -> Steady:
    """Have a crowd run for `window` seconds; return what it costs the hub."""
    await asyncio.sleep(5)
    before, asked_before = usage(host, service), (await gauge(crowd.people[0]))["asked"]
    began = before.at
    start_s = await crowd.start(range(size), say, portion)
    asked_started = (await gauge(crowd.people[0]))["asked"]
    started = usage(host, service)
    await asyncio.sleep(SETTLE)
    first, asked_first = usage(host, service), (await gauge(crowd.people[0]))["asked"]
    await asyncio.sleep(window)
    last, asked_last = usage(host, service), (await gauge(crowd.people[0]))["asked"]
    found = Steady(
        sessions=size,
        start_s=round(start_s, 1),
        cpu_percent=round(first.percent_until(last), 2),
        kib_per_session=round((last.rss_kib - before.rss_kib) / size, 1),
        asked_per_minute=asked_per_minute(asked_first, asked_last, last.at - first.at),
        asked_per_minute_starting=asked_per_minute(asked_before, asked_started, started.at - began),
    )
    say(f"{crowd.side}: {found}")
    return found


async def at_once(site: Site, options: Options, say: Say) -> dict[str, Any]:
    """Have crowds of Roost and of the no-op start on one hub, by turns."""
    ground.start_hub(site)
    go_first(site.hosts["hub"], "hub")
    async with people_of(site) as people:
        crowds = [Crowd(people, side, wish, options.crowd) for side, wish in SIDES.items()]
        return {"stalls": await stalls(crowds, options.crowd, options.rounds, say)}


async def for_long(site: Site, options: Options, say: Say) -> dict[str, Any]:
    """Have the sessions of each side just run, each on a fresh hub."""
    host, found = site.hosts["hub"], {}
    for side, wish in SIDES.items():
        ground.start_hub(site)
        go_first(host, "hub")
        async with people_of(site) as people:
            crowd = Crowd(people, side, wish, ARRIVALS)
            costs = await steady(crowd, host, "hub", options.sessions, options.window, say)
            found[side] = asdict(costs)
        ground.stop_hub(site)
    return found


async def stalls_or_lost(crowd: Crowd, size: int, say: Say) -> dict[str, Any]:
    """Have crowds of batchspawner start; return their stalls, or how many of one it gave up."""
    try:
        told = await stalls([crowd], size, PEER_ROUNDS, say)
    except ServersFailed as failed:
        say(f"{failed}: batchspawner takes a query that fails for the end of the job")
        await crowd.stop(range(size))
        return {"batchspawner_lost": failed.lost}
    return {"batchspawner_stall_ms": told[crowd.side]["stall_ms"]}


async def batchspawner(site: Site, host: Host, options: Options, say: Say) -> dict[str, Any]:
    """Measure batchspawner, as many sessions as the crowd has: each is asked about by itself."""
    service, size = f"hub-{peers.CROWD.name}", options.crowd
    found: dict[str, Any] = {}
    go_first(host, service)
    async with people_of(site, peers.url(peers.CROWD), peers.PeerPerson) as people:
        crowd = Crowd(people, "batch", {}, size)
        try:
            found |= await stalls_or_lost(crowd, size, say)
            costs = await steady(crowd, host, service, size, options.window, say, PEER_PORTION)
            found["batchspawner"] = asdict(costs)
            await crowd.stop(range(size))
        except (ServersFailed, TimeoutError) as failed:  # ours stand without it
            say(f"batchspawner: no figures of servers that just run: {failed}")
    return found


def crowd(site: Site, options: Options, say: Say) -> dict[str, Any]:
    """Measure what starts at once, and batchspawner's sessions."""
    with ground.crowded(site, max(options.crowd, 200)):
        found = asyncio.run(at_once(site, options, say))
        with peers.running(site, [peers.CROWD]) as host:
            found |= asyncio.run(batchspawner(site, host, options, say))
    return found | {"size": options.crowd}


def many(site: Site, options: Options, say: Say) -> dict[str, Any]:
    """Measure what just runs."""
    with ground.crowded(site, options.sessions):
        return asyncio.run(for_long(site, options, say))


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured.

    Attributes
    ----------
    crowd, rounds
        Starts at once, and how often.
    sessions
        Sessions that just run.
    window
        Seconds for which they are watched.
    """

    crowd: int = 100
    rounds: int = 10
    sessions: int = 1000
    window: float = 60.0
