"""What another user can see of a session's job on Slurm: never its ticket."""

from __future__ import annotations

import re
import secrets

import pytest
from roost_spawner.clusters.base import Launcher
from roost_spawner.clusters.slurm import submit

from tests.support.broker import BrokerTalk

pytestmark = pytest.mark.pool

TICKET = "PlantedTicket" + secrets.token_hex(8)


@pytest.fixture(scope="module")
def job(testbed):
    """A job of alice's with a planted ticket, running; on which host, and its number."""
    talk = BrokerTalk(testbed)
    text = (testbed.repository / "hub-config/site.yaml").read_text()
    hub_id = re.search(r"^hub_id:\s*([\w.-]+)", text, re.MULTILINE)[1]
    code = "import time\nassert ticket\ntime.sleep(120)"
    script = submit.script(Launcher("/opt/jupyter/bin/python", code, TICKET))
    mark = f"{hub_id}/{secrets.token_urlsafe(12)}"
    token = talk.token("alice")
    reply = talk.ask("POST", "/v1/jobs", token, talk.wish("", mark=mark) | {"script": script})
    assert reply.status == 201, reply
    job_id = reply.body["job_id"]
    seen = talk.until(job_id, lambda job: job["state"] == ["RUNNING"], token=lambda: token)
    yield testbed.hosts[seen["node"].partition(".")[0]], job_id
    talk.ask("DELETE", f"/v1/jobs/{job_id}", talk.token("alice"))


def test_the_ticket_is_really_there_for_its_owner(testbed, job):
    _, job_id = job
    done = testbed.hosts["ctl"].run(
        ["scontrol", "write", "batch_script", job_id, "-"], user="alice"
    )
    assert TICKET in done.stdout


def test_mallory_reads_no_ticket_from_slurm(testbed, job):
    host, job_id = job
    controller = testbed.hosts["ctl"]
    for command in (
        ["scontrol", "write", "batch_script", job_id, "-"],
        ["scontrol", "show", "job", job_id, "-d"],
        ["squeue", "--json"],
        ["grep", "-rs", TICKET, "/var/lib/slurm", "/etc/slurm", "/var/log/slurm", "/tmp", "/run"],
    ):
        for where in (controller, host):
            done = where.run(command, user="mallory", check=False)
            assert TICKET not in done.stdout + done.stderr, (command, where.name)


def test_mallory_reads_no_ticket_from_proc_on_the_node(job):
    host, _ = job
    look = (
        "for f in /proc/[0-9]*/cmdline /proc/[0-9]*/environ /proc/[0-9]*/fd/0; do"
        " timeout 1 cat $f 2>/dev/null | tr '\\0' ' '; done"
    )
    assert TICKET not in host.run(["sh", "-c", look], user="mallory", check=False).stdout
    # Nor is it in an argument list at all, for root to see either.
    lists = host.run(["sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null"], check=False).stdout
    assert TICKET not in lists


def test_no_log_of_slurm_or_the_broker_holds_the_ticket(testbed, job):
    host, _ = job
    for where in (testbed.hosts["ctl"], host):
        done = where.run(
            ["grep", "-rslF", TICKET, "/var/log/slurm", "/var/log/testbed", "/etc"], check=False
        )
        assert done.stdout == "", where.name
