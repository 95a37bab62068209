"""The main job on the real pool: as whom, where, with what, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json

import pytest
from roost_spawner.site.loader import load_site

from testbed.layout import REPOSITORY
from tests.support.guest import until
from tests.support.pool import start_startd, stop_startd

pytestmark = pytest.mark.pool

WHERE = "import getpass, socket; print(getpass.getuser(), socket.gethostname())"


def welcome_cells() -> list[str]:
    notebook = json.loads((REPOSITORY / "notebooks/welcome.ipynb").read_text())
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def hub_id(site):
    return load_site(site.repository / "hub-config/site.yaml").hub_id


def subject(site, name):
    return next(person.subject for person in site.people if person.name == name)


async def test_a_notebook_runs_in_a_reserved_slot_as_its_user_with_the_users_own_token(
    testbed, person, queue
):
    alice = person("alice")
    await alice.login()

    async def nothing_of_hers():
        return not [job for job in queue() if job["Owner"] == "alice"]

    await until(nothing_of_hers, "the job of a test before has left the queue", 60)
    ready = await alice.start("interactive")
    try:
        (job,) = [job for job in queue() if job["Owner"] == "alice"]
        assert job["AuthTokenIssuer"] == testbed.issuer
        assert job["AuthTokenSubject"] == subject(testbed, "alice")
        slot, _, node = str(job["RemoteHost"]).partition("@")
        assert slot.startswith("notebook")
        assert (await alice.run(WHERE)) == [f"alice {node}"]
        assert any("queue" in message for message in ready.messages)
    finally:
        await alice.stop()
    assert [job for job in queue() if job["Owner"] == "alice"] == []


async def test_a_gpu_notebook_is_the_users_own_slurm_job_and_sees_one_gpu(testbed, person):
    bob = person("bob")
    await bob.login()
    await bob.start("gpu")
    try:
        listed = testbed.hosts["ctl"].run(["squeue", "-h", "-o", "%u %T %P %b"]).stdout
        assert "bob RUNNING gpu gres/gpu:1" in listed.replace("gres:gpu", "gres/gpu")
        cell = "import os, getpass; print(getpass.getuser(), os.environ['CUDA_VISIBLE_DEVICES'])"
        (printed,) = await bob.run(cell)
        assert printed in {"bob 0", "bob 1"}
    finally:
        await bob.stop()
    assert "bob" not in testbed.hosts["ctl"].run(["squeue", "-h", "-o", "%u"]).stdout


@pytest.mark.parametrize("profile", ["interactive", "gpu"])
async def test_the_welcome_notebook_runs_and_says_who_where_and_how_long(person, profile):
    alice = person("alice")
    await alice.login()
    await alice.start(profile)
    try:
        printed = "\n".join(await alice.run(*welcome_cells()))
    finally:
        await alice.stop()
    assert "alice" in printed
    assert ("ep" if profile == "interactive" else "gpu") in printed
    assert "minute" in printed or "second" in printed
    assert "eyJ" not in printed  # a notebook is saved with its output: no token in it


async def test_twelve_notebooks_of_two_users_run_at_once_on_one_execute_point(
    testbed, person, queue
):
    people = [person("alice"), person("bob")]
    servers = ["", "two", "three", "four", "five", "six"]
    stop_startd(testbed, "ep2")
    try:
        for one in people:
            await one.login()
        await asyncio.gather(
            *(one.start("interactive", server=name) for one in people for name in servers)
        )
        # Other tests' jobs stay to be seen for half a minute after their end.
        jobs = [
            job
            for job in queue("Owner", "RemoteHost", "JobStatus", "RoostHub", "RoostSession")
            if job["Owner"] != "carol" and job["RoostHub"] == hub_id(testbed)
        ]
        assert len(jobs) == 12, jobs
        assert {job["JobStatus"] for job in jobs} == {2}
        slots = [str(job["RemoteHost"]) for job in jobs]
        assert len(set(slots)) == 12
        assert {slot.partition("@")[2].partition(".")[0] for slot in slots} == {"ep1"}
        assert all(slot.startswith("notebook") for slot in slots)
        printed = await asyncio.gather(*(one.run(WHERE, server="six") for one in people))
        assert [text.split()[0] for (text,) in printed] == ["alice", "bob"]
    finally:
        await asyncio.gather(
            *(one.stop(name) for one in people for name in servers), return_exceptions=True
        )
        start_startd(testbed, "ep2")
    left = [job for job in queue("Owner", "RoostHub") if job["RoostHub"] == hub_id(testbed)]
    assert {job["Owner"] for job in left} <= {"carol"}


async def test_a_choice_out_of_bounds_is_refused_with_what_is_allowed(person):
    alice = person("alice")
    await alice.login()
    body = {"profile": "interactive", "walltime": "90d"}
    status, answer = await alice.api("POST", "users/alice/server", body=body)
    said = json.dumps(answer)
    if status == 202:  # a busy hub answers before it has looked; then the progress stream says it
        said = " ".join([event["message"] async for event in alice.progress()])
    else:
        assert status == 400
    assert "90d" in said
    assert "up to 1d" in said
