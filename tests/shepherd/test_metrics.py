from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY, generate_latest
from roost_shepherd.errors import NeedsLogin, ProviderBusy, Transient

pytestmark = pytest.mark.unit

AP = "https://ap.example.org:9618"


def take(shepherd, owner="alice", audience=AP, **more):
    return shepherd.access_token(owner, audience=audience, scopes=["compute.read"], **more)


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0.0


def renewed(outcome="renewed"):
    return value("roost_renewals_total", outcome=outcome)


async def test_renewals_are_counted_by_outcome(shepherd, double, log_in):
    good, busy, ended = renewed(), renewed("busy"), renewed("needs_login")
    await log_in(shepherd)
    await take(shepherd)
    await take(shepherd)  # from the vault
    assert renewed() - good == 1
    double.fail = (503, "", {})
    with pytest.raises(Transient):
        await take(shepherd, audience="https://other")
    assert renewed("busy") - busy == 1
    double.fail = None
    (await log_in(shepherd, "bob", "2222")).alive = False
    with pytest.raises(NeedsLogin):
        await take(shepherd, "bob")
    assert renewed("needs_login") - ended == 1


async def test_what_was_not_asked_is_not_counted(shepherd, double, log_in):
    await log_in(shepherd)
    double.fail = (429, "", {"Retry-After": "50"})
    with pytest.raises(ProviderBusy):
        await take(shepherd)
    before = renewed("busy")
    for owner in ("bob", "carol"):
        await log_in(shepherd, owner, f"of-{owner}")
        with pytest.raises(ProviderBusy):
            await take(shepherd, owner)
    assert renewed("busy") == before


async def test_it_is_measured_how_good_a_token_was_when_it_was_used(shepherd, log_in, clock):
    def at_most(seconds):
        return value("roost_token_seconds_to_expiry_at_use_bucket", le=seconds)

    await log_in(shepherd)
    before = at_most("60.0"), at_most("120.0")
    await take(shepherd)
    clock.ahead = 70
    await take(shepherd)
    assert at_most("60.0") - before[0] == 1
    assert at_most("120.0") - before[1] == 2


async def test_grants_are_counted_by_state(shepherd, log_in):
    await log_in(shepherd, "alice")
    await log_in(shepherd, "bob", "2222")
    (await log_in(shepherd, "carol", "3333")).alive = False
    with pytest.raises(NeedsLogin):
        await take(shepherd, "carol")
    await shepherd._loop.round()
    assert value("roost_grants", state="live") == 2
    assert value("roost_grants", state="needs_login") == 1
    assert value("roost_grants", state="retrying") == 0


async def test_an_outage_and_the_longest_one_are_shown(shepherd, double, log_in, clock):
    await log_in(shepherd)
    await take(shepherd)
    clock.ahead, double.fail = 90, (503, "", {})
    await shepherd._loop.round()
    clock.ahead = 150
    await shepherd._loop.round()
    lasted = value("roost_outage_seconds")
    assert lasted == pytest.approx(60, abs=3)
    assert value("roost_longest_outage_seconds") >= lasted
    clock.ahead, double.fail = 300, None
    await shepherd._loop.round()
    clock.ahead = 320
    await shepherd._loop.round()
    assert value("roost_outage_seconds") == 0
    assert value("roost_longest_outage_seconds") >= lasted


async def test_no_name_and_no_token_is_in_the_metrics(shepherd, double, log_in):
    await log_in(shepherd, "alice-of-the-metrics", "subject-of-the-metrics")
    await asyncio.gather(*(take(shepherd, "alice-of-the-metrics") for _ in range(3)))
    await shepherd._loop.round()
    shown = generate_latest(REGISTRY).decode()
    assert "roost_grants" in shown
    for word in ("of-the-metrics", "ap.example.org", "127.0.0.1", *double.issued):
        assert word not in shown
