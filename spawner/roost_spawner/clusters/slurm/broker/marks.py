"""Session marks of jobs, as they were first seen: what is noted on a job later changes none.

A job's comment can be edited while it runs: by its owner, an admin, a cron or a plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.slurm.broker.wishes import MARK

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST = 50_000
"""Jobs that are remembered; far more than are in a queue at once."""


class Marks:
    """The marks of the jobs that brokers have submitted."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str] = {}

    def note(self, job_id: int, uid: int, mark: str) -> None:
        """Remember a job's mark, unless it has one already."""
        self._known.setdefault((job_id, uid), mark)
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    def of(self, raw: Mapping[str, Any]) -> str | None:
        """Return a job's mark, or None for a job that no broker submitted.

        Parameters
        ----------
        raw
            As slurmrestd shows it.
        """
        job_id, uid, comment = raw.get("job_id"), raw.get("user_id"), raw.get("comment")
        if not isinstance(job_id, int) or not isinstance(uid, int):
            return None
        known = self._known.get((job_id, uid))
        if known is None and isinstance(comment, str) and MARK.fullmatch(comment):
            known = comment
            self.note(job_id, uid, comment)
        return known
