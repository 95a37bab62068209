"""A node is taken back, on the real pool: people are told at once, and can still save."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

pytestmark = pytest.mark.pool

# Runs in the session beside the kernel, as somebody's work does.
WITNESS = """
import os, subprocess, sys
code = '''
import json, os, time
log = open(os.path.expanduser("~/evicted"), "w", buffering=1)
while True:
    status = json.load(open(os.environ["ROOST_STATUS_FILE"]))
    print(time.time(), json.dumps(status), file=log)
    time.sleep(0.1)
'''
subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
"""


async def test_an_evicted_notebook_says_so_at_once_can_be_saved_and_never_comes_back(
    testbed, person, queue
):
    alice = person("alice")
    await alice.login()
    await alice.start("interactive")
    (job,) = [job for job in queue() if job["Owner"] == "alice" and job["JobStatus"] == 2]
    job_id = f"{job['ClusterId']}.{job['ProcId']}"
    await alice.run(WITNESS)
    vacated = time.time()
    testbed.hosts["ap"].run(["condor_vacate_job", job_id])
    for _ in range(90):
        servers = (await alice.api("GET", "users/alice"))[1]["servers"]
        if not servers:
            break
        await asyncio.sleep(0.5)
    assert servers == {}
    assert 20 < time.time() - vacated < 45
    lines = testbed.hosts["ep1"].read("/home/alice/evicted").splitlines()
    seen = [(float(at), json.loads(text)) for at, text in (line.split(" ", 1) for line in lines)]
    told = [at for at, status in seen if status["state"] == "evicting"]
    assert told
    assert told[0] - vacated < 1.5  # the agent within 1 s, the note 0.1 s later
    assert told[-1] - told[0] > 18
    assert "ends in 22 s" in seen[-1][1]["notice"]
    logged = (testbed.folders.logs / "hub").glob("hub*")
    text = "".join(path.read_text() for path in logged)
    assert f"Session {job['RoostSession']}: evicting" in text

    def left():
        return [job for job in queue() if job["Owner"] == "alice" and job["JobStatus"] < 3]

    # The scheduler ends what it has evicted, and says why; the hub takes it out of the queue.
    ended = time.monotonic()
    while left() and time.monotonic() < ended + 20:
        assert {job["ClusterId"] for job in left()} <= {int(job_id.partition(".")[0])}
        await asyncio.sleep(0.5)
    for _ in range(3):
        assert left() == []
        await asyncio.sleep(2)
