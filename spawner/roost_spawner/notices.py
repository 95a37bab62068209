"""What people in a session are warned of before it ends.  Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

WALLTIME_WARNINGS = (15 * 60, 5 * 60)
"""Seconds before the end of the walltime at which it is announced."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for the people in a session, said once."""

    level: str
    """``info`` or ``warning``."""
    message: str
    at: float
    """Seconds since the epoch."""


MOST = 20
"""Notices that are kept for a session; the oldest go first."""
LONGEST = 500
"""Characters of a notice; the rest is cut off."""


def with_one_more(given: list[Notice], notice: Notice) -> list[Notice]:
    """Return the notices of a session with a new one; the same if its words were said already."""
    if len(notice.message) > LONGEST:
        notice = replace(notice, message=notice.message[: LONGEST - 1] + "…")
    if any(notice.message == said.message for said in given):
        return given
    return [*given, notice][-MOST:]


_NEARLY = 60.0
"""Seconds before the end of the walltime at which an end is the walltime's."""


def ending(seconds_left: int | None, ends_at: float, at: float) -> Notice:
    """Return the notice that the batch system ends the session.

    Parameters
    ----------
    seconds_left
        Until its server is ended; 0 if it is ending already, None if the agent does not know.
    ends_at
        End of the walltime, in seconds since the epoch; 0 while nobody knows.
    at
        Now, in seconds since the epoch.
    """
    if seconds_left == 0:
        when = "now."
    else:
        soon = "very soon" if seconds_left is None else f"in {seconds_left} s"
        when = f"{soon}. Save your work now."
    why = "The batch system is stopping this job"
    if time_is_up(ends_at, at):
        why = "This session's time is up"
    return Notice("warning", f"{why}: your session ends {when}", at)


def time_is_up(ends_at: float, at: float) -> bool:
    """Whether what ends a session now is its walltime."""
    return bool(ends_at) and at > ends_at - _NEARLY


def walltime(ends_at: float, told: frozenset[int], at: float) -> tuple[int, Notice] | None:
    """Return the announcement that is due, with the mark that it belongs to.

    Parameters
    ----------
    ends_at
        End of the walltime, in seconds since the epoch; 0 while nobody knows.
    told
        Marks of :data:`WALLTIME_WARNINGS` that have been announced.
    at
        Now, in seconds since the epoch.
    """
    left = ends_at - at
    passed = [mark for mark in WALLTIME_WARNINGS if 0 < left <= mark]
    if not ends_at or not passed or min(passed) in told:
        return None
    minutes = max(1, math.ceil(left / 60))
    plural = "" if minutes == 1 else "s"
    words = f"This session's time is up in {minutes} minute{plural}. Save your work before."
    return min(passed), Notice("warning", words, at)
