"""No grant is lost while the vault's database is away, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
import signal
import stat
import threading

import pytest
from roost_shepherd.errors import RenewalBusy, VaultUnusable
from roost_shepherd.vault.models import GrantState
from roost_shepherd.vault.records import Want

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("real_time")]

AP = "https://ap.example.org:9618"
OTHER = "https://other.example.org"
OWNERS = [f"user{n}" for n in range(12)]


def take(shepherd, owner, audience=AP):
    return shepherd.access_token(owner, audience=audience, scopes=["compute.read"])


async def run(function, *arguments):
    """Run what stops or starts a server, while the renewals go on."""
    return await asyncio.to_thread(function, *arguments)


async def until(condition, seconds=30.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the double has no events
            await asyncio.sleep(0.05)


@pytest.fixture
def vault_url(postgres):
    return postgres.url()


@pytest.fixture
async def asked(make_shepherd, double, log_in):
    """Twelve users, whose refresh tokens the provider is just rotating."""
    shepherd = make_shepherd(parallel=12)
    for owner in OWNERS:
        await log_in(shepherd, owner, f"of-{owner}")
    await take(shepherd, "user0", OTHER)  # discovery is done
    double.refreshes.clear()
    double.answers.clear()
    tasks = [asyncio.create_task(take(shepherd, owner)) for owner in OWNERS]
    await double.asked(len(OWNERS))
    return shepherd, tasks


async def all_alive(shepherd, double):
    """Renew everything once more: a refresh token that was lost would end its grant."""
    for owner in OWNERS:
        await take(shepherd, owner, "https://later.example.org")
        assert (await shepherd.status(owner)).state is GrantState.LIVE, owner
    assert all(grant.alive for grant in double.grants)


@pytest.mark.parametrize(
    "seconds",
    [3, pytest.param(12, marks=pytest.mark.long), pytest.param(30, marks=pytest.mark.long)],
)
async def test_a_stopped_postgresql_costs_no_login(asked, double, postgres, tmp_path, seconds):
    shepherd, tasks = asked
    await run(postgres.stop)
    double.answers.set()
    try:
        tokens = await asyncio.gather(*tasks)  # from memory, while it is away
        assert len(list((tmp_path / "answers").iterdir())) == len(OWNERS)
        again = await asyncio.gather(*(take(shepherd, owner) for owner in OWNERS))
        assert [token.value for token in again] == [token.value for token in tokens]
        await asyncio.sleep(seconds - 2)
    finally:
        await run(postgres.start)
    await until(lambda: not shepherd._renewals.kept._all)
    assert len(double.refreshes) == len(OWNERS)
    assert list((tmp_path / "answers").iterdir()) == []
    await all_alive(shepherd, double)


@pytest.mark.parametrize("seconds", [4, pytest.param(30, marks=pytest.mark.long)])
async def test_a_postgresql_that_hangs_costs_no_login(asked, double, postgres, seconds):
    shepherd, tasks = asked
    postgres.signal(signal.SIGSTOP)
    double.answers.set()
    try:
        await asyncio.gather(*tasks)
        await asyncio.sleep(seconds - 3)
    finally:
        postgres.signal(signal.SIGCONT)
    await until(lambda: not shepherd._renewals.kept._all)
    assert len(double.refreshes) == len(OWNERS)
    await all_alive(shepherd, double)


async def test_a_process_that_ends_meanwhile_leaves_its_answers_to_the_next(
    asked, make_shepherd, double, postgres, tmp_path, caplog
):
    first, tasks = asked
    await run(postgres.stop)
    double.answers.set()
    try:
        tokens = await asyncio.gather(*tasks)
        await first.stop()
        left = list((tmp_path / "answers").iterdir())
        assert len(left) == len(OWNERS)
        for path in left:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert not any(secret.encode() in path.read_bytes() for secret in double.issued)
        assert stat.S_IMODE((tmp_path / "answers").stat().st_mode) == 0o700
    finally:
        await run(postgres.start)
    second = make_shepherd()
    await take(second, "user0", OTHER)
    await until(lambda: not second._renewals.kept._all)
    assert list((tmp_path / "answers").iterdir()) == []
    same = [await take(second, owner) for owner in OWNERS]
    assert [token.value for token in same] == [token.value for token in tokens]
    await all_alive(second, double)
    assert not any(secret in caplog.text for secret in double.issued)


async def test_another_process_does_not_show_the_used_token_meanwhile(
    asked, make_shepherd, double, postgres, clock, tmp_path
):
    first, tasks = asked
    second = make_shepherd(answers_folder=str(tmp_path / "of-another"))
    await second.status("user1")
    with pytest.raises(RenewalBusy):
        await second._renewals.renew("user1", Want(AP, frozenset({"compute.read"})))
    await run(postgres.stop)
    double.answers.set()
    try:
        await asyncio.gather(*tasks)
        clock.ahead = 100  # no lease is left
    finally:
        await run(postgres.start)
    clock.ahead = 101
    await asyncio.gather(*(take(second, owner, OTHER) for owner in OWNERS))
    await until(lambda: not first._renewals.kept._all)
    assert all(grant.alive for grant in double.grants)
    await all_alive(second, double)


async def test_answers_are_kept_in_memory_where_no_file_can_be_written(
    make_shepherd, double, log_in, tmp_path, caplog, monkeypatch
):
    caplog.set_level(logging.INFO)
    (tmp_path / "no-folder").write_text("")
    shepherd = make_shepherd(answers_folder=str(tmp_path / "no-folder"))
    await log_in(shepherd)
    real, away = shepherd._vault.commit_renewal, True

    def commit(*args, **kwargs):
        if away:
            raise VaultUnusable("away")
        return real(*args, **kwargs)

    monkeypatch.setattr(shepherd._vault, "commit_renewal", commit)
    await take(shepherd, "alice")
    await asyncio.sleep(0.5)  # tried again meanwhile
    assert caplog.text.count("Cannot keep answers in") == 1
    away = False
    await until(lambda: not shepherd._renewals.kept._all)
    assert (await shepherd.status("alice")).state is GrantState.LIVE


async def test_a_disk_that_hangs_keeps_nobody_from_the_token(
    make_shepherd, double, log_in, monkeypatch
):
    shepherd = make_shepherd()
    await log_in(shepherd)
    away, goes_on = True, threading.Event()
    real = shepherd._vault.commit_renewal

    def commit(*args, **kwargs):
        if away:
            raise VaultUnusable("away")
        return real(*args, **kwargs)

    def hang(answered):
        goes_on.wait(60)
        return False

    monkeypatch.setattr(shepherd._vault, "commit_renewal", commit)
    monkeypatch.setattr(shepherd._renewals.kept._spill, "keep", hang)
    await take(shepherd, "alice")
    away = False
    await until(lambda: not shepherd._renewals.kept._all)
    assert (await shepherd.status("alice")).state is GrantState.LIVE
    goes_on.set()
