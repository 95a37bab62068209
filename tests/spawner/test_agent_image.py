"""Servers in an Apptainer image, on a node with a double of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.agent_hub import SERVER_TOKEN, HubDouble
from tests.support.apptainer import Apptainer

pytestmark = pytest.mark.unit

GPU_OPTION = "rocm" if Path("/dev/kfd").exists() else "nv"


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.sif"
    path.touch()
    return path


@pytest.fixture
async def node(tmp_path, image):
    """A node with Apptainer on it, and a hub whose profile has an image."""

    class Node:
        def __init__(self):
            self.apptainer = Apptainer(tmp_path / "tools")
            self.hub = HubDouble(tmp_path, extra={"image": str(image)})

        async def run(self, **extra):
            self.hub.extra.update(extra)
            return await self.hub.run(PATH=f"{self.apptainer.folder}:{os.environ['PATH']}")

        async def seen(self):
            """Return what the server sees, and with what Apptainer was called."""
            port = (await self.hub.call("ready"))["port"]

            def get():
                address = f"http://127.0.0.1:{port}/user/alice/"
                with urllib.request.urlopen(address, timeout=5) as answer:
                    return json.loads(answer.read())

            return await asyncio.to_thread(get), self.apptainer.called

    node = Node()
    yield node
    node.hub.server.stop()
    await node.hub.server.close_all_connections()


def read(path):
    return Path(path).read_text()


async def stop(agent):
    agent.send_signal(signal.SIGTERM)
    return await asyncio.wait_for(agent.communicate(), 20)


async def test_the_server_runs_in_the_image_with_what_it_needs(node, image, tmp_path):
    node.hub.env = {"X509_CERT_DIR": "@ROOST_DIR@/certificates", "APPTAINER_BIND": "/cvmfs"}
    agent = await node.run()
    server, apptainer = await node.seen()
    env, home = server["env"], str(tmp_path / "home")
    directory = str(Path(env["ROOST_STATUS_FILE"]).parent)
    assert apptainer["image"] == str(image)
    assert apptainer["bind"] == [directory]
    assert (apptainer["home"], apptainer["pwd"]) == (home, home)
    assert not apptainer["nv"]
    assert not apptainer["rocm"]
    assert (server["cwd"], env["HOME"]) == (home, home)
    assert env["PATH"].startswith(f"{Path(sys.executable).parent}:")
    assert env["X509_CERT_DIR"] == f"{directory}/certificates"
    assert "/cvmfs" not in env["APPTAINER_BIND"]  # that is for Apptainer itself
    for name in ("BEARER_TOKEN_FILE", "ROOST_TOKEN_DIR", "JUPYTER_RUNTIME_DIR"):
        assert env[name].startswith(f"{directory}/")
    assert read(env["BEARER_TOKEN_FILE"]) == "access-token-0"
    await stop(agent)


async def test_no_secret_is_in_apptainers_arguments(node):
    agent = await node.run()
    server, apptainer = await node.seen()
    assert server["env"]["JUPYTERHUB_API_TOKEN"] == SERVER_TOKEN
    assert SERVER_TOKEN not in str(apptainer["argv"])
    assert "access-token-0" not in str(apptainer["argv"])
    await stop(agent)


async def test_gpus_and_a_directory_outside_of_home_are_brought_along(node, tmp_path):
    place = tmp_path / "data"
    place.mkdir()
    agent = await node.run(gpus=True, cwd=str(place))
    server, apptainer = await node.seen()
    assert apptainer[GPU_OPTION]
    assert str(place) in apptainer["bind"]
    assert (server["cwd"], apptainer["pwd"]) == (str(place), str(place))
    await stop(agent)


async def test_the_prologue_runs_on_the_node_and_may_bring_apptainer(node, tmp_path):
    module = node.apptainer.folder.rename(tmp_path / "module")
    agent = await node.run(prologue=f"export PATH={module}:$PATH")
    await node.hub.call("ready")
    node.apptainer.folder = module
    assert (await node.seen())[1]["action"] == "exec"
    await stop(agent)


@pytest.mark.parametrize(
    ("lacks", "words"), [("apptainer", "no Apptainer"), ("image", "no image {image}")]
)
async def test_what_the_node_lacks_is_said_to_the_user(node, image, lacks, words):
    if lacks == "apptainer":
        node.apptainer.program.unlink()
    else:
        image.unlink()
    agent = await node.run()
    event = await node.hub.call("event")
    assert event["kind"] == "failed"
    said = words.format(image=image)
    assert event["reason"] == f"the server could not start: there is {said} on this node"
    await asyncio.wait_for(agent.communicate(), 20)


async def test_a_registrys_image_is_left_to_apptainer(node):
    agent = await node.run(image="docker://registry.example.org/lab:1")
    assert (await node.seen())[1]["image"] == "docker://registry.example.org/lab:1"
    await stop(agent)


async def test_nothing_in_the_image_outlives_a_killed_agent(node):
    agent = await node.run()
    _, apptainer = await node.seen()
    agent.kill()
    await agent.communicate()  # the server holds no pipe of it
    for _ in range(100):
        try:
            os.kill(apptainer["pid"], 0)
        except ProcessLookupError:
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("it still runs")
