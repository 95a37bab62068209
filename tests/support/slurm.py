"""The testbed's Slurm, spoken to through its broker by the hub's own client of it."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.base import JobRequest, Launcher, Resources
from roost_spawner.clusters.slurm.client import SlurmBroker

from testbed.layout import LOOPBACK, PLAN, REPOSITORY, SWITCH
from testbed.services.slurm import TEST_HUB
from tests.support.broker import BrokerTalk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testbed.layout import Site

_PORT = 8443


class SlurmTalk:
    """Tokens from the testbed's IAM, a client of its broker, and an admin's hand on Slurm.

    Parameters
    ----------
    site
        The testbed, up.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.tokens = BrokerTalk(site)
        self._held: dict[str, tuple[float, str]] = {}
        plan = PLAN["ctl"]
        here = f"{LOOPBACK}.{plan.octet}"
        route = f"{here}:{_PORT}={plan.address}:{_PORT}"
        program = str(REPOSITORY / "testbed/forward.py")
        self._forwarder = subprocess.Popen([sys.executable, "-I", program, SWITCH, route])
        end = time.monotonic() + 10
        while not _listens(here):
            assert time.monotonic() < end, "the forwarder to the broker did not come up"
            time.sleep(0.02)
        self.pool = self.client()

    def client(self) -> SlurmBroker:
        """Return another client of the broker, as another hub's process would have it."""
        return SlurmBroker(
            name="cluster",
            hub_id=TEST_HUB,
            broker=self.site.broker_url,
            audience=self.site.broker_audience,
            watch_token=lambda: asyncio.to_thread(self._fresh, ""),
            ca_file=self.site.folders.ca_certificate,
        )

    async def close(self) -> None:
        """End all jobs that are left, and the connections."""
        try:
            await self.admin("scancel", "--name=roost")
        finally:
            await self.pool.close()
            self._forwarder.terminate()
            self._forwarder.wait()

    async def token(self, user: str) -> str:
        """Return an access token of a user, made out to the broker."""
        return await asyncio.to_thread(self._fresh, user)

    def _fresh(self, user: str) -> str:
        until, token = self._held.get(user, (0.0, ""))
        if time.monotonic() > until:
            token = self.tokens.token(user) if user else self.tokens.watcher()
            self._held[user] = time.monotonic() + 30, token
        return token

    def wish(self, code: str, **resources: Any) -> JobRequest:
        """Return a small notebook job that runs `code`."""
        wanted = {"cpus": 1, "memory_mib": 256, "walltime_s": 300, "partition": "cpu"} | resources
        return JobRequest(
            f"{TEST_HUB}/{secrets.token_urlsafe(12)}",
            Resources(**wanted),
            Launcher("/usr/bin/python3", code),
        )

    async def admin(self, *command: str, check: bool = True) -> str:
        """Run a command on the controller as root; return what it prints."""
        done = await asyncio.to_thread(self.site.hosts["ctl"].run, list(command), check=check)
        return done.stdout + done.stderr

    async def raw(self, job_id: str) -> Mapping[str, Any]:
        """Return a job as slurmctld shows it, in the words of the REST service."""
        said = await self.admin("scontrol", "show", "job", job_id, "--json=v0.0.42")
        return dict(json.loads(said)["jobs"][0])


def _listens(address: str) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex((address, _PORT)) == 0
