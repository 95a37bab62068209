"""The server's port is its own, from before it listens until the session is over."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from roost_spawner.agent import bind, close_all, has_family, hold_port, hold_rest, strangers

from tests.support.agent_hub import HubDouble
from tests.support.tornado_server import tornado_server

pytestmark = pytest.mark.unit

FAMILIES = [socket.AF_INET, socket.AF_INET6]
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.fixture
async def hub(tmp_path):
    double = HubDouble(tmp_path)
    double.extra = tornado_server(tmp_path / "lib")
    yield double
    double.server.stop()
    await double.server.close_all_connections()


def refuses(family, port):
    """Whether another program is kept from a port."""
    for address in (LOOPBACK[family], ""):
        with socket.socket(family) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                other.bind((address, port))
                other.listen()
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return False
    return True


def read(path):
    return Path(path).read_text()


async def appears(path):
    for _ in range(200):
        if await asyncio.to_thread(path.exists):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(path)


async def look(host, port, path=""):
    def get():
        with urllib.request.urlopen(f"http://{host}:{port}/user/alice/{path}", timeout=5) as reply:
            return json.loads(reply.read())

    return await asyncio.to_thread(get)


@pytest.mark.parametrize("ports", [None, [42200, 42300]])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_is_held_in_both_families_before_a_server_is_started(ports, family):
    port, held = hold_port(ports)
    assert refuses(family, port)
    close_all(held)
    assert not refuses(family, port)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_that_a_neighbour_has_in_one_family_is_not_taken(family):
    neighbour = bind(family, (LOOPBACK[family], 0))
    with neighbour:
        port = neighbour.getsockname()[1]
        with pytest.raises(Exception, match="no port is free"):
            hold_port([port, port])


@pytest.mark.parametrize("ip", ["0.0.0.0", "[::]", "", "127.0.0.1", "[::1]", "localhost"])
async def test_the_server_is_reached_by_each_address_whatever_the_hub_calls_any(hub, ip):
    hub.env = {"JUPYTERHUB_SERVICE_URL": f"http://{ip}:0/user/alice/"}
    agent = await hub.run()
    port = (await hub.call("ready"))["port"]
    hosts = {"127.0.0.1": "127.0.0.1", "[::1]": "::1"}
    reached = [ip] if ip in hosts else [] if ip == "localhost" else hosts
    for host in reached:
        seen = await look(host, port)
        assert seen["peer"] == hosts[host]
        assert seen["sockets"] is None
    for family in FAMILIES if len(reached) == 2 else []:
        assert refuses(family, port)
    agent.terminate()
    await agent.communicate()


async def test_the_port_of_a_server_that_has_ended_is_nobody_elses_until_that_is_told(hub):
    agent = await hub.run()
    port = (await hub.call("ready"))["port"]
    hub.delays["event"] = 1.5
    with pytest.raises(OSError):
        await look("127.0.0.1", port, "quit")
    await hub.call("event")
    for family in FAMILIES:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK[family], port), timeout=1)
        assert refuses(family, port)
    await agent.communicate()
    assert agent.returncode == 0


async def test_a_crash_before_ready_is_no_reason_to_try_another_port(hub):
    hub.extra["prologue"] = "echo started >> $HOME/starts; exit 3"
    agent = await hub.run()
    event = await hub.call("event")
    await agent.communicate()
    assert "status 3 before it was ready" in event["reason"]
    assert read(hub.directory / "home/starts") == "started\n"


async def test_a_server_that_binds_by_itself_leaves_no_family_to_a_neighbour(hub):
    hub.extra["takes_sockets"] = False
    agent = await hub.run()
    port = (await hub.call("ready"))["port"]
    assert (await look("127.0.0.1", port))["sockets"] is None
    for family in FAMILIES:
        assert refuses(family, port)
    agent.terminate()
    await agent.communicate()


def test_the_families_that_a_server_leaves_free_are_held():
    with bind(socket.AF_INET, ("127.0.0.1", 0)) as server:
        server.listen()
        port = server.getsockname()[1]
        rest = hold_rest(port)
        assert [one.family for one in rest] == [socket.AF_INET6]
        assert refuses(socket.AF_INET6, port)
        close_all(rest)


SQUATTER = """
import os, socket, sys
os.setuid(65534)
one = socket.socket(getattr(socket, sys.argv[1]))
if sys.argv[1] == "AF_INET6":
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
one.bind(("", int(sys.argv[2])))
one.listen()
print(one.getsockname()[1], flush=True)
while True:
    other = one.accept()[0]
    other.recv(1000)
    other.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
    other.close()
"""


@pytest.fixture
def squat():
    """Return a function that has another account listen on a port."""
    if os.getuid() != 0:
        pytest.fail("this test needs another account: run it as root")
    found = []

    def begin(family, port=0):
        command = [sys.executable, "-c", SQUATTER, family, str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        found.append(process)
        return int(process.stdout.readline())

    yield begin
    for process in found:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_another_accounts_listener_on_our_port_is_seen(squat, family):
    port = squat(family)
    assert strangers(port) == [65534]
    assert strangers(port + 1) == []


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
async def test_a_neighbour_who_wins_the_race_for_a_port_is_never_said_to_be_the_server(
    hub, squat, family
):
    """A server that binds by itself is slow, and the neighbour takes its port meanwhile."""
    hub.extra["takes_sockets"] = False
    hub.extra["prologue"] = (
        "echo $JUPYTERHUB_SERVICE_URL >> $HOME/urls\n"
        "while [ ! -e $HOME/go ]; do sleep 0.05; done\n" + hub.extra["prologue"]
    )
    agent = await hub.run()
    home = hub.directory / "home"
    await appears(home / "urls")
    first = int(read(home / "urls").split(":")[2].split("/")[0])
    squat(family, first)
    await asyncio.to_thread((home / "go").touch)
    port = (await hub.call("ready"))["port"]
    assert port != first
    assert await look("127.0.0.1", port)
    agent.terminate()
    await agent.communicate()


def test_a_family_that_the_node_does_not_have_is_done_without(monkeypatch):
    assert has_family(socket.AF_INET)
    monkeypatch.setattr("roost_spawner.agent.has_family", lambda family: family == socket.AF_INET6)
    port, held = hold_port(None)
    assert [one.family for one in held] == [socket.AF_INET6]
    assert port == held[0].getsockname()[1]
    close_all(held)
