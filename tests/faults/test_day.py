"""A day of tokens in minutes: sessions that always hold valid ones, whatever ends and comes back.

Real hub, provider, pool and agents; the provider rotates refresh tokens and takes one that is shown
twice for stolen.
"""

from __future__ import annotations

import asyncio
import json
import os
import time

import jwt
import pytest

from bench.scale import ground as crowd_ground
from bench.scale.crowd import Crowd
from bench.scale.measure import people_of
from tests.support.day import Day, Reader

pytestmark = pytest.mark.pool


async def health(person):
    """Return how a person's grant stands, as the hub's API says."""
    status, answer = await person.api("GET", f"roost/v1/tokens/{person.name}")
    assert status == 200, answer
    return answer


async def until(condition, what, limit):
    end = time.monotonic() + limit
    while not await condition():
        assert time.monotonic() < end, f"not within {limit:.0f} s: {what}"
        await asyncio.sleep(0.5)


async def home_page(person):
    async with person._http.get(person.hub + "hub/home") as answer:
        return await answer.text()


async def metrics(admin):
    """Return the counts that are not zero."""
    async with admin._http.get(admin.hub + "hub/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return "\n".join(line for line in lines if not line.endswith(" 0.0"))


async def key_of(site, person):
    """Return the provider's public key."""
    async with person._http.get(f"{site.issuer.rstrip('/')}/jwk") as answer:
        (key,) = json.loads(await answer.text())["keys"]
    return jwt.PyJWK(key).key


async def long_outage(day, people, reader):
    """Take it away for longer than a token lives; page and API say so, and all recovers."""
    began = time.time()
    async with day.without_iam():
        await asyncio.sleep(day.life + 2)
        for person in people:
            told = await health(person)
            assert told["state"] == "retrying", told
            assert "iam.roost.test does not answer since" in told["message"], told
            assert told["failing_since"] >= began - 1
        assert "iam.roost.test does not answer since" in await home_page(people[0])
        assert 'roost_grants{state="retrying"}' in await metrics(people[-1])
        now = time.time()
        states = {state for at, state, _ in reader.states if at > now - 3}
        assert states, "no status file was read"
        assert states <= {"missing", "retrying"}, states

    async def live():
        return all([(await health(person))["state"] == "live" for person in people])

    await until(live, "every grant is renewed again", 90)

    async def fresh():
        now = time.time()
        recent = [state for at, state, _ in reader.states if at > now - 2.5]
        return recent and set(recent) == {"good"} and not [b for b in reader.bad if b.at > now - 2]

    await until(fresh, "every session has fresh tokens again", 90)
    return began, time.time()


async def a_day(site, *, sessions, life, rounds, short, rests, at_once):
    """Run it; return what was seen.

    Provider and hub go away by turns, each just when a token is to be renewed.
    """
    async with people_of(site) as people:
        crowd = Crowd(people, "day", {"profile": "interactive"}, at_once)
        reader = Reader(site, await key_of(site, people[0]))
        day = Day(site, life)
        await crowd.start(range(sessions), print)
        reader.start()
        try:
            began = time.time()
            await day.renewed_in_peace()
            await asyncio.sleep(rests)
            for _ in range(rounds):
                await day.deadline_near()
                async with day.without_iam():
                    await asyncio.sleep(short)
                await asyncio.sleep(rests)
                await day.deadline_near()
                await day.kill_hub()
                await asyncio.sleep(rests)
            begin, recovered = await long_outage(day, people, reader)
            await asyncio.sleep(rests)
            end = time.time()
            reader.end()
            judge(day, reader, sessions, began, end, (begin, recovered))
        finally:
            reader.end()
            await crowd.stop(range(sessions))


def judge(day, reader, sessions, began, end, outage):
    """Say what was seen, and whether it is right."""
    issued = day.issued()
    beyond = [outage, *(fault for fault in day.too_long() if fault[0] < outage[0])]
    bad = [one for one in reader.bad if not any(gone <= one.at <= back for gone, back in beyond)]
    least = [
        left
        for at, left in reader.least_left.items()
        if not any(gone - 1 <= at <= back for gone, back in beyond)
    ]
    lags = [lag for at, lag in reader.lags if day.calm(at - day.life / 3, at + day.life / 3)]
    figures = {
        "sessions": len(reader.sessions),
        "seconds": round(end - began),
        "life (s)": day.life,
        "good reads": reader.reads,
        "bad reads in the long outage": len(reader.bad) - len(bad),
        "bad reads at other times": len(bad),
        "least left at a read at other times (s)": round(min(least), 1),
        "longest from issue to file in peace (s)": round(max(lags), 1),
        "refreshes by grant": sorted(len(times) for times in issued.values()),
        "not one at its deadline": day.out_of_step(issued, end),
        "provider away (s)": [round(back - gone, 1) for gone, back in day.outages],
        "hub away (s)": [round(back - gone, 1) for gone, back in day.kills],
        "of these too long for the life": len(beyond) - 1,
        "all well after the long outage (s)": round(outage[1] - day.outages[-1][1], 1),
    }
    print(json.dumps(figures, indent=2))
    assert bad == []
    assert day.refused() == []
    assert max(lags) < day.life / 4
    assert set(issued) == set(reader.seen)  # else the counts were of nothing
    assert figures["not one at its deadline"] == []
    # What was issued is what the sessions read: no token was renewed for nobody.
    lag = 3 + day.life / 2
    for subject, times in issued.items():
        read = len(reader.seen[subject])
        due = len([at for at in times if began < at < end - lag])
        assert due <= read <= len(times) + 1, (subject, due, read, len(times))
    assert len(reader.sessions) == sessions
    # A slow machine may make a fault too long, but not most of them.
    assert 2 * (len(beyond) - 1) <= len(day.faults), day.faults


@pytest.mark.long
async def test_a_short_day_of_tokens(testbed):
    """Six sessions, tokens of 27 s."""
    with crowd_ground.crowded(testbed, 6, lifetime=27):
        crowd_ground.start_hub(testbed)
        await a_day(testbed, sessions=6, life=27, rounds=2, short=2, rests=1, at_once=6)


@pytest.mark.soak
async def test_a_day_of_fifty_sessions(testbed):
    """Fifty sessions, tokens of 50 s (24 hours of hourly ones are 20 minutes of these)."""
    rests = float(os.environ.get("ROOST_DAY_RESTS", "140"))
    with crowd_ground.crowded(testbed, 50, lifetime=50):
        crowd_ground.start_hub(testbed)
        await a_day(testbed, sessions=50, life=50, rounds=3, short=7, rests=rests, at_once=10)
