"""Whether a session of a profile would start now, and if not, why and when.  Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roost_spawner.clusters.base import Pool, Resources


class Starts(enum.StrEnum):
    """When a session would start."""

    NOW = "now"
    SOON = "soon"
    """In a time that can be told."""
    UNKNOWN = "unknown"
    """It has to wait, and nobody knows how long; or nobody knows anything."""
    NEVER = "never"
    """Not with what there is, or not while something is out of order."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What people read on a profile's card."""

    starts: Starts
    words: str
    """``Starts now.``, ``Starts in about 5 minutes.``, ``Nobody can say when it starts.``"""
    free: tuple[str, ...] = ()
    """What is free: ``12 of 40 reserved slots free``, ``GPUs: 1 of 4 free``."""
    why: str = ""
    """Why it cannot start now, a sentence; empty if it can."""
    as_of: float = 0.0
    """When the cluster was asked, in seconds since the epoch."""


def outlook(
    pool: Pool | None, wanted: Resources, *, expected_s: float | None = None, now: float
) -> Outlook:
    """Return what a profile's card says.

    Parameters
    ----------
    pool
        Its slot class or partition; None if the cluster has none of that name.
    wanted
        What a session with the profile's defaults asks for.
    expected_s
        How long starts of the profile that had to wait took lately (median), if known.
    now
        Seconds since the epoch.
    """
    raise NotImplementedError  # being built
