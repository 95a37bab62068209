"""No grant is lost while the disk of a vault in a file is full, or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess

import pytest
from roost_shepherd.vault.models import GrantState

pytestmark = [pytest.mark.hub, pytest.mark.usefixtures("real_time")]

AP = "https://ap.example.org:9618"
OTHER = "https://other.example.org"


def take(shepherd, owner, audience=AP):
    return shepherd.access_token(owner, audience=audience, scopes=["compute.read"])


async def until(condition, seconds=30.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the double has no events
            await asyncio.sleep(0.05)


def mount(disk):
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", str(disk)]
    subprocess.run(command, check=True)


def unmount(disk):
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk):
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


async def test_a_sqlite_disk_that_is_full_costs_no_login(make_shepherd, double, log_in, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    await asyncio.to_thread(mount, disk)
    try:
        shepherd = make_shepherd(
            vault_url=f"sqlite:///{disk}/vault.sqlite", answers_folder=str(tmp_path / "answers")
        )
        await log_in(shepherd)
        await take(shepherd, "alice", OTHER)
        double.answers.clear()
        task = asyncio.create_task(take(shepherd, "alice"))
        await double.asked()
        await asyncio.to_thread(fill, disk)
        double.answers.set()
        token = await task
        assert len(list((tmp_path / "answers").iterdir())) == 1
        assert (await take(shepherd, "alice")).value == token.value
        (disk / "filler").unlink()
        await until(lambda: not shepherd._renewals.kept._all)
        await take(shepherd, "alice", "https://later.example.org")
        assert (await shepherd.status("alice")).state is GrantState.LIVE
        await shepherd.stop()
    finally:
        await asyncio.to_thread(unmount, disk)


async def test_a_file_that_cannot_be_written_for_a_while_costs_no_login(
    shepherd, double, log_in, tmp_path
):
    await log_in(shepherd)
    await take(shepherd, "alice", OTHER)
    double.answers.clear()
    task = asyncio.create_task(take(shepherd, "alice"))
    await double.asked()
    other = sqlite3.connect(tmp_path / "vault.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    double.answers.set()
    token = await task
    assert (await take(shepherd, "alice")).value == token.value
    other.execute("ROLLBACK")
    other.close()
    await until(lambda: not shepherd._renewals.kept._all)
    await take(shepherd, "alice", "https://later.example.org")
    assert (await shepherd.status("alice")).state is GrantState.LIVE
