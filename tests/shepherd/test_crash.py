"""Processes that are killed, and processes that race."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from roost_shepherd.errors import NeedsLogin
from roost_shepherd.vault.models import GrantState

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("real_time")]

AP = "https://ap.example.org:9618"
CHILD = Path(__file__).with_name("renewing_child.py")


@pytest.fixture
def child(double, tmp_path, vault_key):
    async def child(death: str = "", audience: str = AP):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(CHILD),
            double.issuer,
            double.client_id,
            double.client_secret,
            f"sqlite:///{tmp_path}/vault.sqlite",
            audience,
            death,
            env=os.environ | {"ROOST_VAULT_KEYS": vault_key},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, out.decode().strip(), err.decode()

    return child


def take(shepherd, audience=AP):
    return shepherd.access_token("alice", audience=audience, scopes=["compute.read"])


async def test_four_processes_cost_one_refresh(make_shepherd, double, log_in, child):
    await log_in(make_shepherd())
    double.delay = 1.0
    results = await asyncio.gather(*(child() for _ in range(4)))
    assert [code for code, _, _ in results] == [0] * 4, results
    assert len({out for _, out, _ in results}) == 1
    assert len(double.refreshes) == 1


async def test_a_kill_after_the_commit_loses_nothing(make_shepherd, double, log_in, child):
    await log_in(make_shepherd())
    code, _, _ = await child("commit")
    assert code == -signal.SIGKILL
    survivor = make_shepherd(lease=1.0)
    await take(survivor)  # already in the vault
    assert len(double.refreshes) == 1
    await take(survivor, "https://another.example.org")  # by the rotated refresh token
    assert double.grants[0].alive


async def test_a_kill_before_the_commit_loses_nothing_without_rotation(
    make_shepherd, double, log_in, child
):
    double.rotates = False
    await log_in(make_shepherd())
    code, _, _ = await child("answer")
    assert code == -signal.SIGKILL
    survivor = make_shepherd(lease=1.0)
    await take(survivor)  # once the dead process's lease has ended
    assert (await survivor.status("alice")).state is GrantState.LIVE


async def test_a_kill_before_the_commit_under_rotation_is_told(
    make_shepherd, double, log_in, child
):
    await log_in(make_shepherd())
    await child("answer")
    survivor = make_shepherd(lease=1.0)
    with pytest.raises(NeedsLogin, match="please log in again"):
        await take(survivor)
    status = await survivor.status("alice")
    assert status.state is GrantState.NEEDS_LOGIN
    assert "please log in again" in status.last_error


async def test_a_lost_answer_without_rotation_is_asked_for_again(shepherd, double, log_in, clock):
    double.rotates, double.lose_answer = False, True
    await log_in(shepherd)
    with pytest.raises(Exception, match="does not answer"):
        await take(shepherd)
    double.lose_answer, clock.ahead = False, 5
    await take(shepherd)
    assert (await shepherd.status("alice")).state is GrantState.LIVE
