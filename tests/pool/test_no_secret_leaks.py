"""The planted-token search: everything that another user can read, and every log."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import subprocess

import pytest

from testbed import lifecycle
from testbed.host import Host
from testbed.steps import Printer

pytestmark = pytest.mark.pool

SECRETS_CELL = """
import json, os
key = open(os.environ["JUPYTERHUB_SSL_KEYFILE"]).read().splitlines()
print(json.dumps({"server": os.environ["JUPYTERHUB_API_TOKEN"],
                  "access": open(os.environ["BEARER_TOKEN_FILE"]).read().strip(),
                  "cookie": os.environ.get("JUPYTERHUB_COOKIE_SECRET", ""),
                  "tls": key[1],
                  "status": open(os.environ["ROOST_STATUS_FILE"]).read(),
                  "from site": os.environ["PLANTED"],
                  "from prologue": os.environ["PLANTED_TOO"]}))
"""
SITE_FILE = "/etc/roost/site.yaml"
PROFILE = """
  planted-{cluster}:
    title: Planted
    cluster: {cluster}
    {place}
    cpus: 1
    memory: 1 GiB
    walltime: 1h
    environment: {{PLANTED: {value}}}
    prologue: export PLANTED_TOO={other}
"""
PLACES = {"pool": "slot: reserved", "cluster": "partition: gpu"}
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


@pytest.fixture
async def talkative_hub(testbed):
    """Run the hub with a log of all it has to tell."""
    service = lifecycle.find_service(testbed, "hub")
    spawn = Host.spawn

    def with_debug(host, name, command, **options):
        spawn(host, name, [*command, "--debug"], **options)

    def restart():
        lifecycle.stop_service(testbed, service)
        lifecycle.start_service(testbed, service, Printer())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Host, "spawn", with_debug)
        await asyncio.to_thread(restart)
    yield
    await asyncio.to_thread(restart)


@pytest.fixture
async def planted(testbed, talkative_hub):
    """Give the hub two profiles with values of ours; return those."""
    hub = testbed.hosts["hub"]
    before = hub.read(SITE_FILE)
    values = {"from site": secrets.token_hex(16), "from prologue": secrets.token_hex(16)}
    more = [
        PROFILE.format(
            cluster=cluster,
            place=place,
            value=f"a{values['from site']}",
            other=f"a{values['from prologue']}",
        )
        for cluster, place in PLACES.items()
    ]
    hub.write(SITE_FILE, before + "".join(more))
    await asyncio.sleep(1.2)  # the hub looks at its date once a second
    yield values
    hub.write(SITE_FILE, before)


def on_the_hub(site) -> dict[str, str]:
    """Return what every process of the hub's host was given: its workers and its proxy too."""
    look = "for f in /proc/[0-9]*/{what}; do tr '\\0' ' ' <$f; echo; done 2>/dev/null; true"
    hub = site.hosts["hub"]
    return {
        f"{what} on the hub": hub.run(["sh", "-c", look.format(what=what)]).stdout
        for what in ("cmdline", "environ")
    }


async def first_event(person, path) -> str:
    """Return what a listener to a server's events hears first."""
    url, headers = f"{person.hub}hub/api/{path}/events", {"Referer": f"{person.hub}hub/home"}
    async with person._http.get(url, headers=headers) as answer:
        return (await answer.content.readline()).decode()


async def home_page(person) -> str:
    """Return a person's home page."""
    async with person._http.get(f"{person.hub}hub/home") as answer:
        return await answer.text()


async def test_no_token_is_where_another_user_or_a_log_could_show_it(testbed, planted, person):
    alice = person("alice")
    await alice.login()
    secret: set[str] = set()
    try:
        views = {}
        for server, profile in (("", "planted-pool"), ("two", "planted-cluster")):
            ready = await alice.start(profile, server=server)
            views[f"pending page of {profile}"] = "\n".join(ready.messages)
            found = json.loads((await alice.run(SECRETS_CELL, server=server))[0])
            views[f"status file of {profile}"] = found.pop("status")
            assert all(planted[name] in found[name] for name in planted)
            secret |= {value for value in found.values() if value}
            path = "roost/v1/servers/alice" + (f"/servers/{server}" if server else "")
            views[f"status API of {profile}"] = json.dumps(await alice.api("GET", path))
            views[f"event of {profile}"] = await first_event(alice, path)
        assert len(secret) == 7, "two servers' tokens and keys; what both were given"
        views |= mallorys_view(testbed) | roots_view(testbed) | on_the_hub(testbed)
    finally:
        await alice.stop()
        await alice.stop("two")
    views["home page"] = await home_page(alice)
    views["condor_history afterwards"] = (
        testbed.hosts["ap"].run(["condor_history", "-l"], user="mallory").stdout
    )
    # A search that looked at nothing finds nothing: each place must have been read for real.
    assert "RoostSession" in views["condor_q -l"]
    assert "RoostSession" in views["condor_history afterwards"]
    assert "roost" in views["scontrol"]
    assert "jupyterhub" in views["logs on hub"].lower()
    assert "[D " in views["logs on hub"]
    assert "init.py" in views["/proc on ep1"]
    assert "htcondor.worker" in views["cmdline on the hub"]
    assert "ROOST_STATE" in views["environ on the hub"]
    assert '"state"' in views["status file of planted-pool"]
    for profile in ("planted-pool", "planted-cluster"):
        assert '"state": "running"' in views[f"status API of {profile}"]
        assert '"state": "running"' in views[f"event of {profile}"]
    assert "Your sessions" in views["home page"]
    found_in = [place for place, text in views.items() for token in secret if token in text]
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
