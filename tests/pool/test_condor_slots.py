"""Ordinary jobs and notebooks keep to their own slots."""

from __future__ import annotations

import time

import pytest

pytestmark = pytest.mark.pool

ORDINARY = """\
executable = /bin/sleep
transfer_executable = false
arguments = 90
initialdir = /tmp
should_transfer_files = no
requirements = TARGET.FileSystemDomain isnt undefined {more}
request_memory = 128
{lines}
queue
"""


class OrdinaryQueue:
    """The ordinary access point beside the central manager, as somebody who is logged in there."""

    def __init__(self, host):
        self.host = host

    def submit(self, user, *, more="", lines=""):
        text = ORDINARY.format(more=more, lines=lines)
        done = self.host.run(["condor_submit", "-terse", "-"], user=user, input=text)
        return done.stdout.split()[0]

    def look(self, job_id):
        done = self.host.run(["condor_q", job_id, "-af", "JobStatus", "RemoteHost"])
        status, slot = done.stdout.split()
        return int(status), slot


@pytest.fixture
def ordinary(testbed):
    found = OrdinaryQueue(testbed.hosts["cm"])
    yield found
    found.host.run(["condor_rm", "-all"], check=False)


def test_an_ordinary_job_runs_in_the_ordinary_slot_and_tricks_get_none_into_another(ordinary):
    plain = ordinary.submit("alice")
    asks = ordinary.submit("alice", more="&& TARGET.RoostSlot =?= true")
    lies = ordinary.submit(
        "alice",
        more="&& TARGET.RoostSlot =?= true",
        lines='My.IsRoostNotebook = true\nMy.RoostSession = "roost-test/abcdefgh"',
    )
    vain = ordinary.submit("mallory", lines="My.IsRoostNotebook = true")
    end = time.monotonic() + 90  # HTCondor's ordinary cycle
    while ordinary.look(plain)[0] != 2:
        assert time.monotonic() < end
        time.sleep(0.5)
    assert ordinary.look(plain)[1].startswith("slot1_")
    time.sleep(3)  # three cycles of the notebooks' negotiator
    for job_id in (asks, lies, vain):
        assert ordinary.look(job_id) == (1, "undefined")
