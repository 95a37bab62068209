"""A profile with an image, from the site file to the server in it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.apptainer import Apptainer

pytestmark = pytest.mark.hub


def add(hub, profile):
    file = Path(hub.app.config.RoostSpawner.site_file)
    file.write_text(f"{file.read_text()}  {profile}\n")


async def test_a_profiles_server_runs_in_its_image_and_the_agent_on_the_node(
    hub, tmp_path, monkeypatch
):
    apptainer = Apptainer(tmp_path / "tools")
    monkeypatch.setenv("PATH", f"{apptainer.folder}:{os.environ['PATH']}")
    image = tmp_path / "image.sif"
    image.touch()
    add(hub, f"boxed: {{title: Boxed, cluster: pool, gpus: 1, image: {image}}}")
    await asyncio.sleep(1.1)  # the file is looked at each second
    hub.pool.run_for_real = True
    session = await hub.spawn(profile="boxed")
    assert (await hub.settled())["ready"]
    assert session.record.python == "python3"  # the image's
    assert hub.pool.requests[0].launcher.python == sys.executable  # the cluster's
    assert apptainer.called["image"] == str(image)
    assert hub.spawner().api_token not in str(apptainer.called["argv"])
