"""Who cancelled a job.

slurmctld shows nobody (only slurmdbd records it), so the broker remembers what went through it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.slurm.broker import views

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST = 10_000
"""Jobs that are remembered; far more than end within Slurm's ``MinJobAge``."""


class Cancels:
    """Jobs whose owners had them cancelled, since this broker runs.

    Parameters
    ----------
    clock
        Seconds since the epoch, to compare with Slurm's.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._since = clock()
        self._jobs: dict[str, None] = {}

    def note(self, job_id: str) -> None:
        """Remember that a job's owner wants it to end."""
        self._jobs[job_id] = None
        if len(self._jobs) > _MOST:
            del self._jobs[next(iter(self._jobs))]

    def by_owner(self, raw: Mapping[str, Any]) -> bool | None:
        """Return whether a cancelled job's owner asked for it here.

        None for a job that was not cancelled, or was while another broker may have been asked.
        """
        if "CANCELLED" not in (raw.get("job_state") or ()):
            return None
        if str(raw.get("job_id")) in self._jobs:
            return True
        return False if (views.number(raw.get("end_time")) or 0) > self._since else None
