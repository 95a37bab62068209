"""Directories, commands and accounts that a node does not have: said with path and node."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from roost_spawner import agent
from roost_spawner.agent import Refused, account_here, no_entry

from tests.support.agent_hub import HubDouble

pytestmark = pytest.mark.unit


@pytest.fixture
async def hub(tmp_path):
    double = HubDouble(tmp_path)
    yield double
    double.server.stop()
    await double.server.close_all_connections()


async def session(hub, **env):
    """Return what a session sees, and how it stands by its status file."""
    process = await hub.run(**env)
    port = (await hub.call("ready"))["port"]

    def get():
        url = f"http://127.0.0.1:{port}/user/alice/"
        with urllib.request.urlopen(url, timeout=5) as reply:
            return json.loads(reply.read())

    def stands(path):
        return json.loads(Path(path).read_text())

    seen = await asyncio.to_thread(get)
    for _ in range(100):
        status = await asyncio.to_thread(stands, seen["env"]["ROOST_STATUS_FILE"])
        if status["state"] == "running":
            break
        await asyncio.sleep(0.05)
    process.terminate()
    await process.communicate()
    return seen, status["notice"]


@pytest.mark.parametrize("kind", ["missing", "file"])
@pytest.mark.parametrize("what", ["HOME", "workdir"])
async def test_a_directory_that_cannot_be_used_is_named_with_its_node(hub, tmp_path, what, kind):
    place = tmp_path / "place"
    if kind == "file":
        place.touch()
    hub.cwd = str(place) if what == "workdir" else None
    seen, notice = await session(hub, **({"HOME": str(place)} if what == "HOME" else {}))
    why = {"missing": "does not exist", "file": "is no directory"}[kind]
    assert notice.startswith(f"{place} {why} on {socket.gethostname()}: your session starts in ")
    assert ("What you save there is lost" in notice) == (what == "HOME")
    assert seen["cwd"] == seen["env"]["HOME"]


async def test_a_session_in_its_own_home_has_nothing_to_be_told(hub):
    seen, notice = await session(hub)
    assert (seen["cwd"], notice) == (str(hub.directory / "home"), "")


async def test_a_home_that_is_not_told_is_the_accounts(hub):
    seen, notice = await session(hub, HOME="")
    assert (seen["env"]["HOME"], notice) == (account_here().pw_dir, "")


def test_a_directory_that_exists_and_may_not_be_entered_is_not_used(tmp_path):
    """Asked as another account, since root may enter everywhere."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o600)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder != Path("/") and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    source = Path(agent.__file__).read_text()
    code = source + f"\nos.setuid(65534)\nprint(no_entry({str(closed)!r}), no_entry('/') == '')\n"
    done = subprocess.run(
        [sys.executable, "-I", "-"], input=code, capture_output=True, text=True, check=True
    )
    assert done.stdout == "cannot be entered by your account True\n"
    assert no_entry(str(tmp_path)) == ""


async def test_a_command_is_found_beside_the_profiles_python(hub, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    bundle = HubDouble.bundle(hub)
    server = programs / "own-server"
    server.write_text(f"#!{sys.executable}\n{bundle['argv'][2]}")
    server.chmod(0o755)
    hub.extra = {"argv": ["own-server"], "programs": str(programs)}
    seen, _ = await session(hub)
    assert seen["env"]["PATH"].startswith(f"{programs}:")


async def test_a_command_that_is_not_there_is_named_with_its_node(hub):
    hub.extra = {"argv": ["jupyter-nowhere"]}
    process = await hub.run()
    event = await hub.call("event")
    await process.communicate()
    node = socket.gethostname()
    assert event["kind"] == "failed"
    assert event["reason"] == (
        f"the program jupyter-nowhere cannot be run on {node}: No such file or directory"
    )


def test_a_node_that_does_not_know_the_account_is_named(monkeypatch):
    monkeypatch.setenv("SLURMD_NODENAME", "gpu7")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    with pytest.raises(
        Refused, match="node gpu7 does not know the account with the number 4000000"
    ):
        account_here()
