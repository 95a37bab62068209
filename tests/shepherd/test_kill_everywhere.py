"""A process that dies at any point of a renewal loses no grant in silence.

The points are counted in the event loop, see ``dying_children.py``.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from roost_shepherd.errors import NeedsLogin, RenewalBusy
from roost_shepherd.vault.models import GrantState
from roost_shepherd.vault.records import Want

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("real_time")]

CHILDREN = Path(__file__).with_name("dying_children.py")
DIED, DONE = 77, 0
LEASE = 30.0
MANY = 400  # more points than a renewal has


@pytest.fixture
async def children(double, tmp_path, vault_key):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(CHILDREN), double.issuer, double.client_id, double.client_secret),
        f"sqlite:///{tmp_path}/vault.sqlite",
        env=os.environ | {"ROOST_VAULT_KEYS": vault_key},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )

    async def child(owner, point):
        process.stdin.write(f"{owner} {point}\n".encode())
        async with asyncio.timeout(30):
            code, _, place = (await process.stdout.readline()).decode().strip().partition(" ")
        return int(code), place

    yield child
    process.stdin.close()
    await process.wait()


def left_behind(tmp_path, owner):
    """Return the end of the grant's lease, and whether the answer was committed."""
    query = (
        "SELECT lease_until, count(access_tokens.id) FROM grants LEFT JOIN access_tokens"
        " ON grant_id = grants.id WHERE owner = ?"
    )
    database = sqlite3.connect(tmp_path / "vault.sqlite")
    until, tokens = database.execute(query, (owner,)).fetchone()
    database.close()
    return until, tokens == 1


@pytest.mark.parametrize("rotates", [True, False], ids=["rotation", "no-rotation"])
async def test_no_death_loses_a_grant_in_silence(
    make_shepherd, double, log_in, clock, children, tmp_path, rotates
):
    double.rotates = rotates
    survivor = make_shepherd()
    survived, ended = [], []
    for point in range(1, MANY):
        owner = f"user{point}"
        grant = await log_in(survivor, owner, f"of-{owner}")
        asked = len(double.refreshes)
        code, place = await children(owner, point)
        if code == DONE:
            break
        assert code == DIED, place
        async with asyncio.timeout(5):
            while double._now_in:  # noqa: ASYNC110 - what the dead one asked is answered first
                await asyncio.sleep(0.01)
        asked = len(double.refreshes) - asked
        assert asked <= 1
        # No lease for longer than its time; and after it, the grant is free.
        until, committed = left_behind(tmp_path, owner)
        assert until <= time.time() + LEASE
        clock.ahead = LEASE + 1
        if until:  # its holder is given more time, and does not need it
            with pytest.raises(RenewalBusy):
                await survivor._renewals.renew(owner, Want("https://first", frozenset()))
            clock.ahead += 6
        try:
            for audience in ("https://first", "https://second"):
                await survivor.access_token(owner, audience=audience, scopes=["compute.read"])
        except NeedsLogin:
            status = await survivor.status(owner)
            assert status.state is GrantState.NEEDS_LOGIN
            assert "please log in again" in status.last_error
            # Only where the provider had taken the refresh token for used.
            assert rotates, place
            assert asked == 1, place
            assert not committed, place
            ended.append(place)
        else:
            assert grant.alive, place
            assert (await survivor.status(owner)).state is GrantState.LIVE
            survived.append(place)
        clock.ahead = 0.0
    else:
        raise AssertionError("a renewal has more points than were tried")
    # It was all over the renewal: before the lease, at the provider, and in the vault.
    places = " ".join(survived + ended)
    for part in ("renewal.py", "threads.py"):
        assert part in places, places
    assert len(survived) > 10
    assert bool(ended) is rotates
