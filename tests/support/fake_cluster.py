"""A batch system and a shepherd without I/O, for what the real ones cannot be made to do.

Jobs can be run for real: as processes of this machine, with the starter's chirp channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from roost_shepherd.errors import NeedsLogin
from roost_shepherd.health import Health
from roost_shepherd.shepherd import AccessToken, GrantStatus
from roost_spawner.clusters.base import Capacity, JobRequest, JobState, JobView
from roost_spawner.errors import ClusterUnreachable

from tests.support.agent_hub import ChirpDouble

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

ISSUER = "https://iam.example.org/"


class FakeShepherd:
    """Hands out tokens that name their owner."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.life = 120.0

    async def start(self) -> None:
        """Begin nothing."""

    async def stop(self) -> None:
        """End nothing."""

    async def access_token(
        self, owner: str, *, audience: str, scopes: Iterable[str], min_valid: float = 0
    ) -> AccessToken:
        """Return a new token each time."""
        if owner in self.gone:
            raise NeedsLogin("Please log in again.")
        self.asked.append((owner, audience))
        value = f"token-of-{owner}-{len(self.asked)}"
        return AccessToken(value, time.time() + self.life, audience, frozenset(scopes))

    async def service_token(self, *, audience: str, scopes: Iterable[str]) -> AccessToken:
        """Return the hub's own."""
        return await self.access_token("hub", audience=audience, scopes=scopes)

    def health(self) -> Health:
        """Return that all is well."""
        return Health(good=True, sentences=("Tokens are renewed in time.",))

    async def status(self, owner: str) -> GrantStatus:
        """Return a grant that is alive."""
        state: Any = "live"
        return GrantStatus(state, subject=f"subject-of-{owner}", issuer=ISSUER)


@dataclass
class FakeCluster:
    """Keeps jobs in a dict; the test moves them."""

    name: str
    scratch: Path
    needs_ticket: bool = False
    hosts: Sequence[str] = ()
    true_node: str | None = None
    """Where a job runs, whatever its view says."""
    run_for_real: bool = False
    audience: str = "https://cluster.example.org"
    submit_scopes: Sequence[str] = ("compute.create", "compute.cancel")
    jobs: dict[str, JobView] = field(default_factory=dict)
    fates: dict[str, JobView] = field(default_factory=dict)
    requests: list[JobRequest] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    down: bool = False
    refuse: Exception | None = None
    submit_delay: float = 0.0
    has: Capacity = field(default_factory=lambda: Capacity({}))
    """What there is and what of it is free."""
    lose_answer: bool = False
    """Take the job in, and say nothing."""
    stubborn: bool = False
    """Cancelled jobs stay."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    def _up(self, call: str) -> None:
        self.calls.append(call)
        if self.down:
            raise ClusterUnreachable(f"{self.name} does not answer.")

    async def submit(self, request: JobRequest, *, token: str) -> str:
        """Take a job in, owned by who the token names."""
        self._up("submit")
        self.requests.append(request)
        job_id = f"{len(self.requests)}.0"
        await asyncio.sleep(self.submit_delay)
        if self.refuse:
            raise self.refuse
        owner = token.split("-")[2]
        self.jobs[job_id] = JobView(
            job_id,
            JobState.QUEUED,
            mark=request.mark,
            owner=owner,
            subject=None if self.needs_ticket else f"subject-of-{owner}",
            issuer=None if self.needs_ticket else ISSUER,
        )
        if self.run_for_real:
            self.tasks.append(asyncio.create_task(self._run(job_id, request)))
        if self.lose_answer:
            raise ClusterUnreachable(f"{self.name} does not answer.")
        return job_id

    def move(self, job_id: str, **changes: Any) -> None:
        """Change how a job is shown."""
        self.jobs[job_id] = replace(self.jobs[job_id], **changes)

    def start(self, job_id: str, key_hash: str | None = None) -> None:
        """Let a job run."""
        self.move(job_id, state=JobState.RUNNING, node="127.0.0.1", slot="slot1", key_hash=key_hash)

    async def cancel(self, job_id: str, *, token: str) -> None:
        """Remove a job as its owner."""
        self._up("cancel")
        view = self.jobs.get(job_id)
        if view is not None:
            assert view.owner == token.split("-")[2], "a cancel as somebody else"
            if not self.stubborn:
                del self.jobs[job_id]

    async def watch(self) -> Mapping[str, JobView]:
        """Return all jobs."""
        self._up("watch")
        return dict(self.jobs)

    async def look(self, job_id: str) -> JobView | None:
        """Return one job."""
        self._up("look")
        return self.jobs.get(job_id)

    async def explain(self, job_id: str, *, may_ask: Any = None) -> list[str]:
        """Return a reason."""
        self._up("explain")
        return ["1 notebook is ahead of yours."]

    async def fate(self, job_id: str) -> JobView | None:
        """Return what the test has noted."""
        self._up("fate")
        return self.fates.get(job_id)

    async def node(self, view: JobView) -> str | None:
        """Return where a job runs."""
        return self.true_node or view.node

    async def warm(self) -> None:
        """Note it."""
        self._up("warm")

    async def capacity(self) -> Capacity:
        """Return what the test has said."""
        self._up("capacity")
        return self.has

    async def close(self) -> None:
        """End the jobs' processes."""
        self.jobs.clear()
        for process in self.processes:
            # As batch systems do: all that the job has started.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _run(self, job_id: str, request: JobRequest) -> None:
        scratch = self.scratch / request.mark.partition("/")[2]
        scratch.mkdir()
        async with ChirpDouble(scratch) as chirp:
            code = request.launcher.code
            if request.launcher.ticket:
                code = f"ticket = {request.launcher.ticket!r}\n{code}"
            self.start(job_id)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                code,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(scratch),
                    "_CONDOR_SCRATCH_DIR": str(scratch),
                },
                start_new_session=True,
            )
            self.processes.append(process)
            try:
                while process.returncode is None and job_id in self.jobs:
                    if "RoostKeyHash" in chirp.attributes:
                        self.move(job_id, key_hash=chirp.attributes["RoostKeyHash"].strip('"'))
                    await asyncio.sleep(0.02)
            finally:
                if process.returncode is None:
                    process.terminate()
                await process.wait()
            self.jobs.pop(job_id, None)
