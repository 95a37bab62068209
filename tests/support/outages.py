"""A fault that lasts, with sessions in every state while it does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.ground import HTCONDOR, SLURM

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tests.support.fleet import Fleet
    from tests.support.ground import Ground

KINDS = {
    "schedd": (HTCONDOR,),
    "collector": (HTCONDOR,),
    "negotiator": (HTCONDOR,),
    "negotiator-nb": (HTCONDOR,),
    "slurmctld": (SLURM,),
    "slurmrestd": (SLURM,),
    "slurm-broker": (SLURM,),
    "iam": (HTCONDOR, SLURM),
}
"""Services, and whose sessions feel it when one is away."""
ROUNDS = (
    ("schedd", "slurmctld"),
    ("collector", "slurmrestd"),
    ("negotiator-nb", "slurm-broker"),
    ("negotiator", "iam"),
)
"""Each once; together those of which no session feels both (none feels the site's negotiator)."""

UNFELT = {"negotiator", "iam"}
"""Services without which a session starts all the same."""


async def outage(
    ground: Ground,
    fleet: Fleet,
    kinds: tuple[str, ...],
    fault: AbstractAsyncContextManager[None],
    seconds: float,
    *,
    felt: bool = True,
) -> None:
    """Let a fault last, and assert that it costs no session and leaves no job.

    Parameters
    ----------
    ground, fleet
        The pool, and no sessions yet.
    kinds
        Where to have sessions in every state.
    fault
        Begins the fault, and ends it.
    seconds
        How long it lasts.
    felt
        Whether who clicks meanwhile may be refused.
    """
    await fleet.into_every_state(*kinds)
    async with fault:
        began = asyncio.get_running_loop().time()
        await fleet.meanwhile(*kinds)
        while asyncio.get_running_loop().time() < began + seconds:
            await asyncio.gather(*(guest.status() for guest in fleet.guests))
            await asyncio.sleep(2)
    refused = [f"{guest}: {guest.refusal}" for guest in fleet.guests if guest.refusal]
    assert felt or refused == [], refused
    await fleet.come_through(*kinds)
    await fleet.end()
