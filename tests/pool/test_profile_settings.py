"""What an admin adds to a profile, on the real pool, while the hub runs."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.support.apptainer import PROGRAM

pytestmark = pytest.mark.pool

PLACES = {
    "pool": "submit_commands: {+WantTuned: true}",
    "cluster": "partition: gpu",
}
SITE_FILE = "/etc/roost/site.yaml"
PROFILE = """
  tuned-{cluster}:
    title: Tuned
    cluster: {cluster}
    {place}
    {settings}
    cpus: 1
    memory: 1 GiB
    walltime: {walltime}
    workdir: /tmp
    environment: {{FROM_SITE: "as it's written $HOME", HERE: "@ROOST_DIR@/x"}}
    prologue: |
      export FROM_PROLOGUE="$(id -un) in $PWD: $FROM_SITE"
      {more}
"""
APPTAINER, IMAGE, PYTHON = "/usr/local/bin/apptainer", "/opt/lab.sif", "/opt/jupyter/bin/python"
IN_IMAGE = f"""image: {IMAGE}
    python: {PYTHON}"""
IMAGE_CELL = """
import json, os
names = ("APPTAINER_CONTAINER", "APPTAINER_BIND", "ROOST_STATUS_FILE", "HOME", "FROM_SITE")
token = open(os.environ["BEARER_TOKEN_FILE"]).read()
print(json.dumps(dict({name: os.environ[name] for name in names}, token=len(token))))
"""
CELL = """
import json, os
names = ("FROM_SITE", "FROM_PROLOGUE", "HERE", "ROOST_STATUS_FILE")
print(json.dumps({name: os.environ[name] for name in names}))
"""


@pytest.fixture
async def add_profile(testbed):
    """Return a function that adds a profile to the site file of the running hub."""
    hub = testbed.hosts["hub"]
    before = hub.read(SITE_FILE)

    async def add(cluster: str, more: str = "", walltime: str = "1h", settings: str = "") -> str:
        place = PLACES[cluster]
        profile = PROFILE.format(
            cluster=cluster, place=place, more=more, walltime=walltime, settings=settings
        )
        hub.write(SITE_FILE, before + profile)
        await asyncio.sleep(1.2)  # the hub looks at its date once a second
        return f"tuned-{cluster}"

    yield add
    hub.write(SITE_FILE, before)
    await asyncio.sleep(1.2)


@pytest.fixture
def apptainer(testbed):
    """On every node a double of Apptainer, and a file that it takes for an image."""
    nodes = [testbed.hosts[name] for name in ("ep1", "ep2", "gpu1", "gpu2")]
    for node in nodes:
        node.write(APPTAINER, PROGRAM.format(python=PYTHON), mode=0o755)
        node.write(IMAGE, "")
    yield
    for node in nodes:
        node.path(APPTAINER).unlink()
        node.path(IMAGE).unlink()


async def refusal(user, profile):
    """Return what a user is told whose session does not start."""
    status, answer = await user.api("POST", "users/alice/server", body={"profile": profile})
    if status == 202:  # the job took longer than the hub waits with its answer
        return " ".join([event["message"] async for event in user.progress()])
    assert status == 500
    return json.dumps(answer)


@pytest.mark.parametrize("cluster", ["pool", "cluster"])
async def test_prologue_and_variables_of_a_profile_reach_the_kernel(person, add_profile, cluster):
    alice = person("alice")
    await alice.login()
    await alice.start(await add_profile(cluster))
    try:
        seen = json.loads((await alice.run(CELL))[-1])
    finally:
        await alice.stop()
    assert seen["FROM_SITE"] == "as it's written $HOME"
    assert seen["FROM_PROLOGUE"] == "alice in /tmp: as it's written $HOME"
    assert seen["HERE"] == seen["ROOST_STATUS_FILE"].replace("status.json", "x")


@pytest.mark.parametrize("cluster", ["pool", "cluster"])
async def test_the_end_of_the_walltime_is_known_in_the_session(person, add_profile, cluster):
    alice = person("alice")
    await alice.login()
    began = time.time()
    await alice.start(await add_profile(cluster, walltime="4m"))
    cell = "import os; print(open(os.environ['ROOST_STATUS_FILE']).read())"
    try:
        for _ in range(10):
            status = json.loads((await alice.run(cell))[-1])
            if status["notice"]:
                break
            await asyncio.sleep(1)
    finally:
        await alice.stop()
    assert "ends in 4 minutes" in status["notice"]
    assert began + 200 < status["ends_at"] < began + 300


async def test_raw_submit_commands_are_in_the_job(person, add_profile, queue):
    alice = person("alice")
    await alice.login()
    await alice.start(await add_profile("pool"))
    try:
        jobs = queue("Owner", "WantTuned", "JobStatus")
    finally:
        await alice.stop()
    (job,) = [job for job in jobs if job["Owner"] == "alice" and job["JobStatus"] == 2]
    assert job["WantTuned"] is True


async def test_a_prologue_that_fails_shows_the_user_what_it_said(person, add_profile):
    alice = person("alice")
    await alice.login()
    profile = await add_profile("pool", more="echo no module of that name; exit 3")
    said = await refusal(alice, profile)
    assert "no module of that name" in said
    assert "status 3 before it was ready" in said


@pytest.mark.parametrize("cluster", ["pool", "cluster"])
async def test_a_server_in_an_image_has_what_a_session_has(person, add_profile, apptainer, cluster):
    alice = person("alice")
    await alice.login()
    await alice.start(await add_profile(cluster, settings=IN_IMAGE))
    try:
        seen = json.loads((await alice.run(IMAGE_CELL))[-1])
    finally:
        await alice.stop()
    assert seen["APPTAINER_CONTAINER"] == IMAGE
    assert seen["APPTAINER_BIND"].split(",")[0] == seen["ROOST_STATUS_FILE"].rpartition("/")[0]
    assert (seen["HOME"], seen["FROM_SITE"]) == ("/home/alice", "as it's written $HOME")
    assert seen["token"] > 100


async def test_a_node_without_apptainer_is_named_as_the_reason(person, add_profile):
    alice = person("alice")
    await alice.login()
    profile = await add_profile("pool", settings=IN_IMAGE)
    assert "no Apptainer on this node" in await refusal(alice, profile)
