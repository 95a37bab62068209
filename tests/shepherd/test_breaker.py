"""A provider that is away is asked by one, and the others follow."""

from __future__ import annotations

import asyncio

import pytest
from roost_shepherd.breaker import AFTER, Breaker, LeftAlone
from roost_shepherd.errors import NeedsLogin, ProviderBusy, ProviderUnreachable, Transient
from roost_shepherd.expiry import patience
from roost_shepherd.vault.models import GrantState

pytestmark = pytest.mark.unit

AP = "https://ap.example.org:9618"
OWNERS = [f"user{n}" for n in range(40)]


class Time:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def breaker(time):
    return Breaker(time, lambda: 1.0)


def ask(breaker, error=None, patience=None):
    with breaker.asking(patience):
        if error is not None:
            raise error


def fail(breaker, times=1, **more):
    for _ in range(times):
        with pytest.raises(Transient):
            ask(breaker, ProviderUnreachable("iam does not answer"), **more)


def test_one_failure_is_of_one_grant_and_three_are_of_the_provider(breaker):
    fail(breaker, AFTER - 1)
    assert breaker.since is None
    fail(breaker)
    assert breaker.since == 1000.0
    with pytest.raises(LeftAlone, match="iam does not answer"):
        ask(breaker)


def test_an_answer_between_failures_starts_the_count_anew(breaker):
    fail(breaker, AFTER - 1)
    with pytest.raises(NeedsLogin):
        ask(breaker, NeedsLogin("of one user"))
    fail(breaker, AFTER - 1)
    assert breaker.since is None


def test_only_one_probe_at_a_time(breaker, time):
    fail(breaker, AFTER)
    time.now = breaker.next_probe_at
    with breaker.asking(), pytest.raises(LeftAlone):
        ask(breaker)
    ask(breaker)


def test_a_probe_that_is_cancelled_frees_its_place(breaker, time):
    fail(breaker, AFTER)
    time.now = breaker.next_probe_at
    with pytest.raises(asyncio.CancelledError):
        ask(breaker, asyncio.CancelledError())
    assert breaker.since is not None
    ask(breaker)
    assert breaker.since is None


def test_probes_come_at_longer_and_longer_intervals_up_to_a_minute(breaker, time):
    fail(breaker, AFTER)
    waits = []
    for _ in range(8):
        waits.append(breaker.next_probe_at - time.now)
        time.now = breaker.next_probe_at
        fail(breaker)
    assert waits == sorted(waits)
    assert waits[-1] == 60.0
    assert breaker.since == 1000.0


def test_short_lived_tokens_do_not_wait_a_minute(breaker, time):
    fail(breaker, AFTER, patience=2.0)
    assert breaker.next_probe_at - time.now == 2.0


def test_one_retry_after_counts_for_all(breaker, time):
    with pytest.raises(ProviderBusy):
        ask(breaker, ProviderBusy("slow down", retry_after=50), patience=20.0)
    time.now += 49
    with pytest.raises(LeftAlone):
        ask(breaker)
    time.now += 2
    ask(breaker)


def test_a_retry_after_takes_half_of_what_a_token_has_left_at_most(breaker, time):
    ends = time.now + 200
    tries = 0
    while time.now < ends - 5:
        wants = patience(time.now, issued_at=ends - 600, expires_at=ends)
        with pytest.raises(ProviderBusy):
            ask(breaker, ProviderBusy("slow down", retry_after=600), patience=wants)
        assert breaker.next_probe_at - time.now == pytest.approx((ends - time.now) / 2)
        time.now, tries = breaker.next_probe_at, tries + 1
    assert 4 <= tries <= 8


def test_who_has_no_token_to_lose_does_not_make_the_others_wait(breaker, time):
    fail(breaker, AFTER)
    for _ in range(8):
        time.now = breaker.next_probe_at
        fail(breaker)
    assert breaker.next_probe_at - time.now == 60
    breaker.hurry(None)
    assert breaker.next_probe_at - time.now == 60
    breaker.hurry(2.0)
    assert breaker.next_probe_at - time.now == 2
    time.now += 1
    breaker.hurry(2.0)
    assert breaker.next_probe_at - time.now == 1


def test_a_hurry_gives_the_provider_some_of_the_peace_that_it_asked_for(breaker, time):
    with pytest.raises(ProviderBusy):
        ask(breaker, ProviderBusy("slow down", retry_after=50))
    breaker.hurry(2.0)
    assert breaker.next_probe_at - time.now == 6
    breaker.hurry(100.0)
    assert breaker.next_probe_at - time.now == 6


# -- with the vault and its loop -----------------------------------------------------------------


@pytest.fixture
async def in_use(shepherd, double, log_in):
    """Forty users, each with a token in use."""
    for owner in OWNERS:
        await log_in(shepherd, owner, f"of-{owner}")
    await asyncio.gather(*(take(shepherd, owner) for owner in OWNERS))
    await shepherd._renewals.uses.settle()
    double.refreshes.clear()
    return shepherd


def take(shepherd, owner):
    return shepherd.access_token(owner, audience=AP, scopes=["compute.read"])


async def test_a_provider_that_is_away_is_not_asked_for_each_grant(in_use, double, clock):
    clock.ahead, double.fail = 81, (503, "", {})
    await in_use._loop.round()
    assert len(double.refreshes) <= AFTER + in_use.parallel
    double.refreshes.clear()
    for _ in range(5):
        clock.ahead = in_use._provider.breaker.next_probe_at - clock() + clock.ahead + 0.01
        await in_use._loop.round()
    assert len(double.refreshes) == 5


async def test_all_are_told_why_theirs_does_not_come(in_use, double, clock):
    clock.ahead, double.fail = 81, (503, "", {})
    await in_use._loop.round()
    for owner in OWNERS:
        status = await in_use.status(owner)
        assert status.state is GrantState.RETRYING, owner
        assert status.failing_since == pytest.approx(clock(), abs=5)
        assert "has a problem at the moment" in status.last_error


async def test_after_one_probe_all_are_renewed_in_one_round(in_use, double, clock):
    clock.ahead, double.fail = 81, (503, "", {})
    await in_use._loop.round()
    double.fail = None
    double.refreshes.clear()
    clock.ahead = 115  # while the old ones are still good
    await in_use._loop.round()
    assert len(double.refreshes) == len(OWNERS)
    assert {(await in_use.status(owner)).state for owner in OWNERS} == {GrantState.LIVE}


async def test_what_is_valid_serves_while_the_provider_is_left_alone(in_use, double, clock):
    clock.ahead, double.fail = 81, (503, "", {})
    await in_use._loop.round()
    double.refreshes.clear()
    for owner in OWNERS:
        assert (await take(in_use, owner)).expires_at > clock()
    assert double.refreshes == []


async def test_discovery_is_probed_too(make_shepherd, double, log_in, clock):
    first = make_shepherd()
    for owner in OWNERS:
        await log_in(first, owner, f"of-{owner}")
    await asyncio.gather(*(take(first, owner) for owner in OWNERS))
    await first.stop()
    await double.stop()
    clock.ahead = 81
    fresh = make_shepherd()  # has never read the discovery document
    await fresh._ready()
    tried = []
    real = fresh._provider.verifier.metadata

    async def metadata():
        tried.append(1)
        return await real()

    fresh._provider.verifier.metadata = metadata
    await fresh._loop.round()
    assert len(tried) <= AFTER + fresh.parallel
    await double.start()
    clock.ahead = 115
    await fresh._loop.round()
    assert {(await fresh.status(owner)).state for owner in OWNERS} == {GrantState.LIVE}


@pytest.mark.parametrize("late", [part * 0.3 for part in range(10)])
async def test_an_outage_shorter_than_a_third_of_a_short_life_never_outlasts_a_token(
    shepherd, double, log_in, clock, late
):
    double.lifetime = 60
    await log_in(shepherd)
    await take(shepherd, "alice")
    await shepherd._renewals.uses.settle()
    ends = (await shepherd.status("alice")).good_until
    clock.ahead, double.fail = 40 + late, (503, "", {})
    back = 40 + 20 - 1.1  # tries come once a second at the end
    while clock.ahead < 60:
        if clock.ahead >= back:
            double.fail = None
        # The loop sleeps for exactly as long as the round says.
        clock.ahead += await shepherd._loop.round()
        good_until = (await shepherd.status("alice")).good_until
        assert good_until > clock()
        if good_until > ends:
            break
    assert double.fail is None
    assert (await shepherd.status("alice")).state is GrantState.LIVE


async def test_who_comes_for_a_token_in_an_outage_hastens_the_probe(
    shepherd, double, log_in, clock
):
    double.lifetime = 60
    await log_in(shepherd)
    await take(shepherd, "alice")
    breaker = shepherd._provider.breaker
    fail(breaker, AFTER)
    clock.ahead, breaker._until = 45, clock() + 105
    await take(shepherd, "alice")  # what is left of the old one serves
    assert breaker.next_probe_at - clock() < 4
