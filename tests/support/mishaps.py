"""What can happen to one job, done for real: how it is brought about, and what must come of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.ground import HTCONDOR, SLURM
from tests.support.guest import Guest, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.ground import Ground

    Act = Callable[[Ground, Guest], Awaitable[None]]

_FILL_MEMORY = "held = bytearray(b'x' * (3 << 30))"


@dataclass(frozen=True, slots=True)
class Mishap:
    """Something that happens to a job.

    Attributes
    ----------
    act
        Brings it about.
    says
        Regular expression of what the user must read once the session is over, or meanwhile.
    lives
        Whether the session must live on.
    at_start
        Whether it happens before the server is ready.
    options
        Options of the profile that the session is started with.
    """

    kind: str
    act: Act
    says: str
    lives: bool = False
    keeps_kernel: bool = True
    """Whether, if it lives on, its kernel does too."""
    at_start: bool = False
    options: dict[str, str] = field(default_factory=dict)
    limited: bool = False
    """Whether Slurm must limit memory; its testbed does with cgroups of the kernel's version 1."""


@dataclass
class Outcome:
    """What came of it."""

    words: list[str]
    """All that the user was told."""
    last: str = ""
    """What is to be read once the session is gone: at the status API, or on the pending page."""
    trouble: str = ""
    """Why it did not end as it must."""


def _condor(*command: str) -> Act:
    async def act(ground: Ground, guest: Guest) -> None:
        await ground.run("ap", *command, guest.job)

    return act


def _slurm(*command: str) -> Act:
    async def act(ground: Ground, guest: Guest) -> None:
        await ground.run("ctl", *command, guest.job, check=False)

    return act


def _pause(host: str, stop: tuple[str, ...], go: tuple[str, ...]) -> Act:
    async def act(ground: Ground, guest: Guest) -> None:
        async def paused() -> bool:
            return (await guest.status()).get("state") == "suspended"

        await ground.run(host, *stop, guest.job)
        await until(paused, f"{guest} is suspended", 60)
        await ground.run(host, *go, guest.job)

    return act


async def _kill_server(ground: Ground, guest: Guest) -> None:
    os.kill(ground.server_pids(guest.person.name, guest.server)[0], signal.SIGKILL)


async def _kill_agent(ground: Ground, guest: Guest) -> None:
    os.kill(ground.agent_pid(guest.person.name, guest.server), signal.SIGKILL)


async def _fill_memory(_ground: Ground, guest: Guest) -> None:
    with contextlib.suppress(Exception):
        await guest.execute(_FILL_MEMORY, 90)


async def _nothing(_ground: Ground, _guest: Guest) -> None:
    """It comes by itself."""


def _sign(word: str) -> Act:
    async def act(ground: Ground, guest: Guest) -> None:
        ground.sign(guest.person.name, guest.server, word).touch()

    return act


MISHAPS: dict[str, Mishap] = {
    "held": Mishap(HTCONDOR, _condor("condor_hold"), r"^An admin \(condor\) put .* on hold"),
    "evicted": Mishap(HTCONDOR, _condor("condor_vacate_job"), r"taken off its node"),
    "suspended": Mishap(
        HTCONDOR, _pause("ap", ("condor_suspend",), ("condor_continue",)), r"paused", lives=True
    ),
    "removed": Mishap(HTCONDOR, _condor("condor_rm"), r"^An admin \(condor\) has removed the job"),
    # The kernel outgrows the slot, and the node ends the kernel alone.
    "memory": Mishap(HTCONDOR, _fill_memory, r"", lives=True, keeps_kernel=False),
    "server's memory": Mishap(HTCONDOR, _sign("eat"), r"memory \(limit \d{3,4} MiB\)"),
    "walltime": Mishap(HTCONDOR, _nothing, r"time was up", options={"walltime": "1m"}),
    "crash at start": Mishap(HTCONDOR, _sign("crash"), r"do not fit together", at_start=True),
    "crash after ready": Mishap(HTCONDOR, _kill_server, r"was killed by the node"),
    "agent killed": Mishap(HTCONDOR, _kill_agent, r"ended by signal 9"),
    "slurm: cancelled": Mishap(SLURM, _slurm("scancel"), r"^The job was cancelled by an admin"),
    "slurm: requeued": Mishap(SLURM, _slurm("scontrol", "requeue"), r"", lives=True),
    "slurm: suspended": Mishap(
        SLURM,
        _pause("ctl", ("scontrol", "suspend"), ("scontrol", "resume")),
        r"suspended",
        lives=True,
    ),
    "slurm: memory": Mishap(SLURM, _fill_memory, r"", lives=True, keeps_kernel=False, limited=True),
    "slurm: server's memory": Mishap(
        SLURM,
        _sign("eat"),
        r"^(The|Your) session('s server ran out of| used more) memory .*\(.*\d{3,4} MiB\)",
        limited=True,
    ),
    "slurm: walltime": Mishap(
        SLURM, _nothing, r"time limit of 1 minutes? was reached", options={"walltime": "1m"}
    ),
    "slurm: crash at start": Mishap(SLURM, _sign("crash"), r"do not fit together", at_start=True),
    "slurm: crash after ready": Mishap(SLURM, _kill_server, r"was killed by the node"),
    "slurm: agent killed": Mishap(SLURM, _kill_agent, r"node killed the job"),
}


async def befall(ground: Ground, guest: Guest, mishap: Mishap) -> Outcome:
    """Start a session, let the mishap happen to it, and note what came of it."""
    if mishap.at_start:
        await mishap.act(ground, guest)
    watch = asyncio.create_task(_listen(guest))
    last = ""
    try:
        await guest.click(**mishap.options)
        if not mishap.at_start:
            await guest.ready()
            await guest.remember()
            await mishap.act(ground, guest)
        if mishap.lives and not mishap.keeps_kernel:
            await guest.remember()  # in a new one
        if mishap.lives:
            await guest.unharmed()
        else:
            await guest.gone()
            await _job_gone(ground, guest)
            last = await _last_word(guest, mishap)
    finally:
        watch.cancel()
    words = [*guest.said, *(why for _, why in guest.seen), guest.refusal]
    return Outcome([word for word in words if word], last)


async def _last_word(guest: Guest, mishap: Mishap) -> str:
    """Return what its user reads now that it is over; the scheduler's word may come late."""
    last = ""

    async def told() -> bool:
        nonlocal last
        if mishap.at_start:
            last = "\n".join([*guest.said[-1:], guest.refusal])
        else:
            last = str((await guest.status()).get("why") or "")
        return bool(re.search(mishap.says, last))

    with contextlib.suppress(AssertionError):
        await until(told, "the last word", 20)
    return last


async def _job_gone(ground: Ground, guest: Guest) -> None:
    async def gone() -> bool:
        return all(job.id != guest.job for job in await ground.left())

    await until(gone, f"{guest}'s job is gone")


async def _listen(guest: Guest) -> None:
    # What the hub has kept as the reason, and what its status API tells of it.
    while True:
        await guest.status()
        record = guest.ground.record(guest.person.name, guest.server)
        note = (f"record: {record.get('state')}", str(record.get("why") or ""))
        if record and note not in guest.seen:
            guest.seen.append(note)
        await asyncio.sleep(0.4)
