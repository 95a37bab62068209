"""What starts a session runs nobody else's code, and its port is nobody else's."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.sites import added_profile

pytestmark = pytest.mark.pool

FOLDER = "/home/littered"  # on every node, since homes are
NAMES = (
    *("abc", "ast", "code", "codecs", "copy", "ctypes", "email", "functools", "hashlib", "http"),
    *("json", "logging", "queue", "random", "re", "runpy", "select", "signal", "socket", "ssl"),
    *("string", "struct", "subprocess", "tempfile", "threading", "time", "token", "types"),
    *("jupyter_server_config", "jupyter_config", "jupyterhub_singleuser_config"),
)
LITTER = f"""
import os
os.umask(0)
os.makedirs({FOLDER!r} + "/marks", 0o1777, exist_ok=True)
for place in ({FOLDER!r}, "/tmp"):
    for name in {NAMES!r}:
        with open(place + "/" + name + ".py", "w") as file:
            mark = "{FOLDER}/marks/" + name
            file.write("open(%r, 'w').close()\\nclass Mine:\\n    pass\\n" % mark)
"""
SQUAT = """
import socket, sys
for family in (socket.AF_INET, socket.AF_INET6):
    for address in {addresses}[family]:
        one = socket.socket(family)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            one.bind((address, {port}))
            one.listen()
            print("took", address, {port})
        except OSError as error:
            print("refused", error.errno)
"""
ADDRESSES = '{socket.AF_INET: ("", "127.0.0.1"), socket.AF_INET6: ("::", "::1")}'
PROFILE = """
  littered:
    title: Littered
    cluster: {cluster}
    {place}
    cpus: 1
    memory: 1 GiB
    walltime: 1h
    workdir: {folder}
    prologue: export PYTHONPATH=/opt/of-the-site:$PYTHONPATH
"""
PLACES = {"pool": "slot: reserved", "cluster": "partition: gpu"}


@pytest.mark.parametrize("cluster", ["pool", "cluster"])
async def test_a_session_in_a_strangers_folder_runs_none_of_its_files_and_keeps_its_port(
    testbed, mallory, alice, cluster
):
    nodes = [testbed.hosts[name] for name in ("ep1", "ep2", "gpu1", "gpu2")]
    for node in nodes:
        node.run(["install", "-d", "-o", "mallory", FOLDER])
        node.run(["/usr/bin/python3", "-I", "-"], input=LITTER, user="mallory")
    profile = PROFILE.format(cluster=cluster, place=PLACES[cluster], folder=FOLDER)
    try:
        async with added_profile(testbed, profile):
            await alice.start("littered")
        status, about = await alice.api("GET", "users/alice")
        assert status == 200
        assert about["servers"][""]["ready"]
        record = mallory.records("alice")[-1]
        node = testbed.hosts[record["node"].partition(".")[0]]
        for place in nodes:
            assert place.run(["ls", f"{FOLDER}/marks"]).stdout == ""
        code = SQUAT.format(addresses=ADDRESSES, port=record["port"])
        said = await asyncio.to_thread(
            node.run, ["/usr/bin/python3", "-I", "-"], input=code, user="mallory"
        )
        assert said.stdout.split() == ["refused", "98"] * 4
        assert "roost-port" not in node.run(["cat", "/proc/net/unix"]).stdout
    finally:
        await alice.stop()
        for node in nodes:
            node.run(["rm", "-rf", FOLDER])
            node.run(["sh", "-c", "rm -f /tmp/*.py"])
