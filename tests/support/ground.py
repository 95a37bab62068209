"""The pool as an admin sees it, and as faults come over it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import lifecycle, net, processes
from testbed.steps import Printer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from testbed.layout import Site

HTCONDOR, SLURM = "htcondor", "slurm"
PROFILES = {HTCONDOR: "interactive", SLURM: "gpu"}
_CLOSED = "/etc/condor/config.d/99-closed.conf"
_EXECUTE_POINTS = ("ep1", "ep2")
_ATTRIBUTES = "ClusterId,ProcId,Owner,JobStatus,RoostHub,RoostSession,RemoteHost,RemoveReason"
_IDLE, _RUNNING, _REMOVED, _COMPLETED = 1, 2, 3, 4
_SLURM_OVER = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"} | {
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}

# In a user's home: what each of their servers runs first.  So a server can be kept from coming up,
# or made to crash or to take more and more memory, by nothing that the product knows of.
SERVER_CONFIG = """
import os, pathlib, sys, threading, time
here = pathlib.Path.home() / "faults" / (os.environ.get("JUPYTERHUB_SERVER_NAME") or "default")
while here.with_suffix(".wait").exists():
    time.sleep(0.1)
if here.with_suffix(".crash").exists():
    sys.stderr.write("the notebook's extensions do not fit together\\n")
    sys.stderr.flush()
    os._exit(3)

def eat():
    while not here.with_suffix(".eat").exists():
        time.sleep(0.5)
    here.with_suffix(".eat").unlink()
    eaten = bytearray(b"x" * (3 << 30))
    time.sleep(60)

threading.Thread(target=eat, daemon=True).start()
"""

# In place of a node's Python.  The clock that nobody sets goes on as it does, as it would on a node
# whose time of day is wrong.
CLOCK = """#!/bin/bash
export LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketimeMT.so.1)
export FAKETIME={seconds:+d}s FAKETIME_DONT_FAKE_MONOTONIC=1
exec -a "$0" /usr/bin/python3.right "$@"
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A job of this hub, as its queue shows it."""

    kind: str
    id: str
    owner: str
    mark: str
    state: str
    node: str
    alive: bool

    @property
    def runs(self) -> bool:
        """Whether it has a place."""
        return self.state in {"2", "RUNNING"}


class Ground:
    """The testbed, to be broken and mended.

    Parameters
    ----------
    site
        The testbed, up.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.service = "hub"
        self.database = "/var/lib/roost/jupyterhub.sqlite"
        self.hub_id = next(
            line.split()[1]
            for line in (site.repository / "hub-config/site.yaml").read_text().splitlines()
            if line.startswith("hub_id:")
        )

    async def run(self, host: str, *command: str, check: bool = True, **options: Any) -> str:
        """Run a command in a host; return what it printed."""
        done = await asyncio.to_thread(
            self.site.hosts[host].run, list(command), check=check, **options
        )
        return done.stdout

    # -- jobs ----------------------------------------------------------------------------------

    async def _ads(self, *command: str) -> list[dict[str, Any]]:
        text = await self.run("ap", *command, "-json", "-attributes", _ATTRIBUTES, timeout=60)
        return json.loads(text or "[]")

    @staticmethod
    def _condor_job(ad: dict[str, Any], *, queued: bool) -> Job:
        status = ad.get("JobStatus")
        leaving = status == _REMOVED and "RemoteHost" in ad
        return Job(
            HTCONDOR,
            f"{ad['ClusterId']}.{ad['ProcId']}",
            str(ad.get("Owner")),
            str(ad.get("RoostSession")),
            str(status),
            str(ad.get("RemoteHost", "")).rpartition("@")[2].partition(".")[0],
            alive=queued and (status not in (_REMOVED, _COMPLETED) or leaving),
        )

    async def condor_jobs(self) -> list[Job]:
        """Return every job of this hub's that the access point knows or remembers."""
        queue, history = await asyncio.gather(
            self._ads("condor_q", "-allusers"), self._ads("condor_history")
        )
        found = {}
        for ads, queued in ((history, False), (queue, True)):
            for ad in ads:
                if ad.get("RoostHub") == self.hub_id:
                    job = self._condor_job(ad, queued=queued)
                    found[job.id] = job
        return list(found.values())

    async def slurm_jobs(self) -> list[Job]:
        """Return every job of this hub's that Slurm knows or remembers."""
        listed = await self.run(
            "ctl", "squeue", "--noheader", "--all", "--states=all", "--format=%i|%u|%T|%k|%N"
        )
        found = []
        # Other people's comments may hold anything, line ends too.
        rows = [row for line in listed.splitlines() if len(row := line.split("|")) == 5]
        for number, owner, state, mark, node in rows:
            if mark.startswith(self.hub_id + "/"):
                over = state in _SLURM_OVER
                found.append(Job(SLURM, number, owner, mark, state, node, alive=not over))
        return found

    async def jobs(self, *kinds: str) -> list[Job]:
        """Return every job of this hub's, carol's apart: hers is other tests'."""
        kinds = kinds or (HTCONDOR, SLURM)
        asked = {HTCONDOR: self.condor_jobs, SLURM: self.slurm_jobs}
        lists = await asyncio.gather(*(asked[kind]() for kind in kinds))
        return [job for jobs in lists for job in jobs if job.owner != "carol"]

    async def left(self) -> list[Job]:
        """Return the jobs that are still there."""
        return [job for job in await self.jobs() if job.alive]

    async def clear(self) -> None:
        """Remove by hand what a failed test has left."""
        jobs = await self.left()
        if ids := [job.id for job in jobs if job.kind == HTCONDOR]:
            await self.run("ap", "condor_rm", *ids, check=False)
            await self.run("ap", "condor_rm", "-forcex", *ids, check=False)
        if ids := [job.id for job in jobs if job.kind == SLURM]:
            await self.run("ctl", "scancel", *ids, check=False)

    # -- no place for new jobs -----------------------------------------------------------------

    async def close(self, *kinds: str) -> None:
        """Let no further job start; what runs goes on."""
        if HTCONDOR in kinds:
            # Not by the slots' START: a startd of 23.9.6 that turns it off in the moment in which
            # a claim comes in ends with a segmentation fault, and its jobs with it.
            self.site.hosts["cm"].write(_CLOSED, "NB.NEGOTIATOR_SLOT_CONSTRAINT = false\n")
            await self._reconfigure()
        if SLURM in kinds:
            await self.run("ctl", "scontrol", "update", "partitionname=gpu", "state=down")

    async def open(self, *kinds: str) -> None:
        """Let jobs start again."""
        if HTCONDOR in kinds:
            self.site.hosts["cm"].path(_CLOSED).unlink(missing_ok=True)
            await self._reconfigure()
        if SLURM in kinds:
            await self.run("ctl", "scontrol", "update", "partitionname=gpu", "state=up")

    @contextlib.asynccontextmanager
    async def only(self, *nodes: str) -> AsyncIterator[None]:
        """Let jobs start on these nodes alone."""
        names = "|".join(nodes)
        constraint = f'RoostSlot =?= true && regexp("^({names})[.]", Machine)'
        line = f"NB.NEGOTIATOR_SLOT_CONSTRAINT = {constraint}\n"
        self.site.hosts["cm"].write(_CLOSED, line)
        await self._reconfigure()
        others = ",".join({"gpu1", "gpu2"} - set(nodes))
        update = ("ctl", "scontrol", "update", f"nodename={others}")
        await self.run(*update, "state=drain", "reason=test")
        try:
            yield
        finally:
            await self.open(HTCONDOR)
            await self.run(*update, "state=resume")

    async def _reconfigure(self) -> None:
        await self.run("cm", "condor_reconfig", check=False)

    # -- a user's servers ----------------------------------------------------------------------

    def home(self, user: str) -> Path:
        """Return a user's home, as the machine sees it."""
        return self.site.folders.homes / user

    def furnish(self, *users: str) -> None:
        """Give users the configuration that waits and crashes at our word."""
        for user in users:
            self.strip(user)
            account = next(person for person in self.site.people if person.name == user)
            for name in (".jupyter", "faults"):
                (self.home(user) / name).mkdir(exist_ok=True)
                os.chown(self.home(user) / name, account.uid, account.uid)
            (self.home(user) / ".jupyter/jupyter_server_config.py").write_text(SERVER_CONFIG)

    def strip(self, *users: str) -> None:
        """Take it away again."""
        for user in users:
            shutil.rmtree(self.home(user) / "faults", ignore_errors=True)
            (self.home(user) / ".jupyter/jupyter_server_config.py").unlink(missing_ok=True)

    def sign(self, user: str, server: str, word: str) -> Path:
        """Return the file that makes a server ``wait``, ``crash`` or ``eat`` while it is there."""
        return self.home(user) / "faults" / f"{server or 'default'}.{word}"

    def server_pids(self, user: str, server: str) -> list[int]:
        """Return the machine's numbers for the processes of a server: itself, then its kernels."""
        wanted = {f"JUPYTERHUB_USER={user}".encode(), f"JUPYTERHUB_SERVER_NAME={server}".encode()}
        found = []
        for name in (*_EXECUTE_POINTS, "gpu1", "gpu2"):
            for pid in net.processes(net.namespace(name)):
                with contextlib.suppress(OSError):
                    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                    if wanted <= set(environment):
                        found.append(pid)
        # By age, not by number: numbers begin anew after the highest.
        return sorted(found, key=lambda pid: int(processes.start_time(pid) or 0))

    def agent_pid(self, user: str, server: str) -> int:
        """Return the machine's number for the agent of a server: its parent."""
        first = self.server_pids(user, server)[0]
        return int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])

    # -- the hub -------------------------------------------------------------------------------

    def records(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Return what the hub has committed of its sessions, by user and server."""
        # Where the machine has it: SQLite would resolve the links of /proc.  Without locks, so that
        # the hub never waits for us; a picture taken while it writes is taken again.
        file = self.site.hosts["hub"].folder / f"upper{self.database}"
        query = (
            "select users.name, spawners.name, spawners.state from spawners "
            "join users on users.id = spawners.user_id"
        )
        rows = []
        for _ in range(50):
            with (
                contextlib.suppress(sqlite3.DatabaseError),
                contextlib.closing(
                    sqlite3.connect(f"file:{file}?immutable=1", uri=True)
                ) as database,
            ):
                rows = database.execute(query).fetchall()
                break
            time.sleep(0.01)
        return {
            (user, server): (json.loads(state) if state else {}).get("sessions", [])
            for user, server, state in rows
        }

    def record(self, user: str, server: str) -> dict[str, Any]:
        """Return the newest session of one server, empty if there is none."""
        return (self.records().get((user, server)) or [{}])[-1]

    def hub_pid(self) -> int | None:
        """Return the hub's number inside its host."""
        return self.site.hosts["hub"].service_pid(self.service)

    async def kill_hub(self) -> None:
        """End the hub, and the hub alone, with no time to say anything."""
        pid = self.hub_pid()
        await self.run("hub", "kill", "-KILL", str(pid))
        while self.hub_pid() is not None:  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.05)

    def hub_log(self) -> str:
        """Return the hub's log."""
        service = lifecycle.find_service(self.site, "hub")
        return lifecycle.log_path(self.site, service).read_text(errors="replace")

    # -- services ------------------------------------------------------------------------------

    async def stop(self, service: str) -> None:
        """Stop a service."""
        found = lifecycle.find_service(self.site, service)
        await asyncio.to_thread(lifecycle.stop_service, self.site, found)

    async def start(self, service: str) -> None:
        """Start it again; return when it is ready."""
        found = lifecycle.find_service(self.site, service)
        await asyncio.to_thread(lifecycle.start_service, self.site, found, Printer())

    def pids_of(self, host: str, *words: str) -> list[int]:
        """Return the machine's numbers for a host's processes with these words in their command."""
        found = []
        for pid in net.processes(net.namespace(host)):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if all(word in command for word in words):
                    found.append(pid)
        return found

    # -- faults --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def away(self, *services: str) -> AsyncIterator[None]:
        """Services that are down for as long as the context lasts."""
        await asyncio.gather(*(self.stop(service) for service in services))
        try:
            yield
        finally:
            await asyncio.gather(*(self.start(service) for service in services))

    @contextlib.asynccontextmanager
    async def frozen(self, pids: Iterable[int]) -> AsyncIterator[None]:
        """Processes that hang: connections stay open, nothing answers."""
        pids = list(pids)
        assert pids, "nothing to freeze"
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def cut(self, *hosts: str) -> AsyncIterator[None]:
        """Hosts without a network."""
        for name in hosts:
            net.cut(name)
        try:
            yield
        finally:
            for name in hosts:
                net.heal(name)

    @contextlib.asynccontextmanager
    async def clock(self, host: str, seconds: int) -> AsyncIterator[None]:
        """A node whose clock is off, for every Python that is started on it: agents, servers."""
        wrapper = CLOCK.format(seconds=seconds)
        python = "/usr/bin/python3"
        await self.run(host, "sh", "-c", f"mv {python} {python}.right")
        self.site.hosts[host].write(python, wrapper, mode=0o755)
        try:
            yield
        finally:
            await self.run(host, "mv", f"{python}.right", python)
