"""The planted-token search: everything that another user can read, and every log."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

pytestmark = pytest.mark.pool

SECRETS_CELL = """
import json, os
print(json.dumps({"server": os.environ["JUPYTERHUB_API_TOKEN"],
                  "access": open(os.environ["BEARER_TOKEN_FILE"]).read().strip(),
                  "cookie": os.environ.get("JUPYTERHUB_COOKIE_SECRET", "")}))
"""
# Any JSON Web Token, and the refresh tokens' own look: what we did not plant must not lie there
# either.
ANY_JWT = re.compile(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}")


def mallorys_view(site) -> dict[str, str]:
    """Return all that another user on the machines can read of sessions."""
    ap, ctl = site.hosts["ap"], site.hosts["ctl"]
    proc = (
        "for f in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do tr '\\0' ' ' <$f; done 2>&1; true"
    )
    files = (
        "find / -xdev \\( -path /proc -o -path /sys -o -path /srv -o -path /opt \\) -prune "
        "-o -type f -newer /etc/hostname -size -2M -readable -print0 2>/dev/null "
        "| xargs -0 cat 2>/dev/null"
    )
    views = {
        "condor_q -l": ap.run(["condor_q", "-allusers", "-l"], user="mallory").stdout,
        "condor_history": ap.run(["condor_history", "-l"], user="mallory").stdout,
        "scontrol": ctl.run(["scontrol", "show", "job", "-dd"], user="mallory").stdout,
        "slurm state": ctl.run(
            ["sh", "-c", "cat -- /var/lib/slurm/*/* /var/spool/slurm*/* 2>&1; true"], user="mallory"
        ).stdout,
    }
    for name in ("ap", "ep1", "ep2", "ctl", "gpu1", "gpu2"):
        views[f"/proc on {name}"] = site.hosts[name].run(["sh", "-c", proc], user="mallory").stdout
        done = site.hosts[name].popen(
            ["sh", "-c", files], user="mallory", stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        views[f"files on {name}"] = done.communicate(timeout=120)[0].decode(errors="replace")
    return views


def roots_view(site) -> dict[str, str]:
    """Return every log, and the places where the batch systems keep what they were given."""
    views = {}
    folders = {
        "ap": ["/var/log", "/var/lib/condor", "/var/spool/condor"],
        "cm": ["/var/log"],
        "ep1": ["/var/log"],
        "ep2": ["/var/log"],
        "ctl": ["/var/log"],
        "gpu1": ["/var/log"],
        "gpu2": ["/var/log"],
        "hub": ["/var/log"],
        "iam": ["/var/log"],
    }
    for name, places in folders.items():
        command = ["sh", "-c", "find " + " ".join(places) + " -type f -exec cat {} + 2>/dev/null"]
        child = site.hosts[name].popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        views[f"logs on {name}"] = child.communicate(timeout=120)[0].decode(errors="replace")
    return views


async def test_no_token_is_where_another_user_or_a_log_could_show_it(testbed, person):
    alice = person("alice")
    await alice.login()
    planted: set[str] = set()
    try:
        for server, profile in (("", "interactive"), ("two", "gpu")):
            await alice.start(profile, server=server)
            found = json.loads((await alice.run(SECRETS_CELL, server=server))[0])
            planted |= {value for value in found.values() if value}
        assert len(planted) == 3, "two servers' tokens, and the access token that both were given"
        views = mallorys_view(testbed) | roots_view(testbed)
    finally:
        await alice.stop()
        await alice.stop("two")
    views["condor_history afterwards"] = (
        testbed.hosts["ap"].run(["condor_history", "-l"], user="mallory").stdout
    )
    # A search that looked at nothing finds nothing: each place must have been read for real.
    assert "RoostSession" in views["condor_q -l"]
    assert "RoostSession" in views["condor_history afterwards"]
    assert "roost" in views["scontrol"]
    assert "jupyterhub" in views["logs on hub"].lower()
    assert "init.py" in views["/proc on ep1"]
    found_in = [place for place, text in views.items() for token in planted if token in text]
    assert found_in == []
    strangers = {place: len(ANY_JWT.findall(text)) for place, text in views.items()}
    assert {place: count for place, count in strangers.items() if count} == {}


def test_the_hub_has_no_scheduler_tools_no_keys_and_no_homes(testbed):
    hub = testbed.hosts["hub"]
    for tool in ("condor_submit", "condor_q", "sbatch", "squeue", "munge", "sudo"):
        assert hub.run(["sh", "-c", f"command -v {tool}"], check=False).returncode != 0
    assert hub.run(["ls", "/home"]).stdout == ""
    assert not hub.path("/etc/munge/munge.key").exists()
    owners = hub.run(["ps", "-eo", "user:20,args"]).stdout
    for line in owners.splitlines():
        if "jupyterhub" in line or "configurable-http-proxy" in line:
            assert line.startswith("roost ")
