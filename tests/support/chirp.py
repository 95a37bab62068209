"""The starter's channel of a job on the pool, used as the job itself could."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from testbed.host import Host

_SAY = r"""
import json, socket, sys
host, port, cookie = open(sys.argv[1]).read().split()[:3]
line = socket.create_connection((host, int(port)), timeout=60).makefile("rw")
def say(text):
    line.write(text + "\n")
    line.flush()
    return line.readline().strip()
assert say("cookie " + cookie) == "0"
print(json.dumps([say("set_job_attr %s %s" % tuple(pair)) for pair in json.load(sys.stdin)]))
"""


def write_own_ad(node: Host, user: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Have the user's one job on a node set attributes of its ad; return the starter's answers.

    Parameters
    ----------
    node, user
        Where the job runs, and as whom.
    pairs
        Names and values; a value is a ClassAd expression without white space.
    """
    search = f"find /var/lib/condor/execute -user {user} -name .chirp.config"
    (config,) = node.run(["sh", "-c", search]).stdout.split()
    done = node.run(
        ["/usr/bin/python3", "-c", _SAY, config], user=user, input=json.dumps(list(pairs))
    )
    found: list[str] = json.loads(done.stdout)
    return found
