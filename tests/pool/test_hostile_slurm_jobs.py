"""Jobs of other people whose texts are odd, and edits of a session's job, on the real Slurm."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.guest import until

pytestmark = pytest.mark.pool

# As bytes: the command line is decoded with surrogate escapes.
BAD = "\udcff\udcfe"
TEXTS = {
    "bytes": BAD,
    "latin-1": "Gr\udcf6\udcdfe",
    "half a character": "\udce2\udc82",
    "lines": "one\ntwo\r\x1b[31mred\x07",
    "long": "x" * 60_000,
    "a mark": "roost-test/aaaaaaaaaaaa",
    "nearly a mark": "roost-test/\udcff\udcff\udcff\udcffaaaaaaaa",
    "json": '"}], "errors": [{"error_number": 1}]',
}


def submit(site, user, *options):
    """Submit a job that waits, and return what sbatch said."""
    words = ["sbatch", "--hold", "--parsable", "--wrap=sleep 5", "-pgpu", *options]
    return site.hosts["gpu1"].run(words, user=user, cwd="/tmp", check=False)


async def test_what_is_written_on_jobs_harms_no_session_and_keeps_nobody_from_a_start(
    testbed, alice, bob, mallory
):
    await bob.start("gpu")
    job = mallory.record("bob")["job_id"]
    ctl = testbed.hosts["ctl"]
    taken = []
    try:
        for text in TEXTS.values():
            for option in ("job-name", "comment", "extra", "output", "error", "wckey"):
                done = submit(testbed, "alice", f"--{option}={text}")
                if not done.returncode:
                    taken.append(option)
        print(f"{len(taken)} jobs taken: {sorted(set(taken))}")
        assert {"job-name", "comment"} <= set(taken)

        async def fresh():
            _, status = await bob.api("GET", "roost/v1/servers/bob")
            assert status["reachable"], status
            assert status["state"] == "running", status
            return status

        await fresh()
        ready = await alice.start("gpu")  # each submit counts the sessions in the listing
        assert ready.seconds < 60
        await fresh()
        before = (await fresh())["ends_at"]
        change = ["scontrol", "update", f"jobid={job}"]
        for edit in (
            f"comment={BAD}",
            "comment=ticket 4711",
            "name=renamed",
            "timelimit=30",
            "nice=50",
        ):
            ctl.run([*change, edit])

        async def follows():
            return (await fresh())["ends_at"] != before

        await until(follows, "the page follows the changed time limit", 20)
        for _ in range(4):
            await asyncio.sleep(1)
            await fresh()
        assert await bob.run("print(6 * 7)") == ["42"]
        _, profiles = await bob.api("GET", "roost/v1/profiles")
        assert "gpu" in str(profiles)
        await alice.stop()
        await bob.stop()  # and its job goes, whatever it is called now

        async def gone():
            return job not in ctl.run(["squeue", "-ho%i"]).stdout.split()

        await until(gone, "the job has left", 30)
    finally:
        ctl.run(["scancel", "-u", "alice"], check=False)
