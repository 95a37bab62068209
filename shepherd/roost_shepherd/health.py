"""Is the custody of tokens well?  Pure: signs go in, a verdict comes out."""

from __future__ import annotations

import time
from dataclasses import dataclass

LATE = 60.0
"""Seconds: a token that is handed out with less left was renewed too late."""

RED_FOR = 300.0
"""Seconds that a token handed out too late keeps the check red."""

STUCK_AFTER = 150.0
"""Seconds without a sign of life after which the loop is called stuck: three times what one
renewal may take."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What a process saw of its own work; times in seconds since the epoch."""

    looping: bool
    """Whether the renewals are this process's work."""
    beat_at: float | None = None
    """When the loop last began or finished anything."""
    late_at: float | None = None
    """When a token was last handed out close to its end."""
    late_left: float = 0.0
    """How many seconds that token was still good for."""
    failing_since: float | None = None
    """Since when the grant that waits longest could not be renewed."""


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict, with a sentence for each thing that is wrong or worth knowing."""

    good: bool
    sentences: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return it as the endpoints show it."""
        return {"status": "good" if self.good else "bad", "because": list(self.sentences)}


def too_late(left: float, life: float) -> bool:
    """Tell whether a token was handed out too close to its end.

    Within a minute, or within the last sixth of a life so short that a minute is nothing to go by:
    renewed at two thirds, a third is left.
    """
    return left < min(LATE, life / 6)


def judge(signs: Signs, now: float) -> Health:
    """Say whether tokens are looked after.

    A provider that is away is not our illness as long as sessions hold good tokens: it is told,
    and does not turn the check red.
    """
    good, sentences = True, []
    if signs.looping and (signs.beat_at is None or now - signs.beat_at > STUCK_AFTER):
        good = False
        since = "it began" if signs.beat_at is None else f"{_at(signs.beat_at)}"
        sentences.append(f"The renewals are stuck: nothing has happened since {since}.")
    if signs.late_at is not None and now - signs.late_at < RED_FOR:
        good = False
        sentences.append(
            f"A token was handed out {signs.late_left:.0f} s before its end, "
            f"at {_at(signs.late_at)}: it should have been renewed long before."
        )
    if signs.failing_since is not None:
        sentences.append(
            f"The identity provider did not renew some tokens since {_at(signs.failing_since)}."
        )
    if not sentences:
        sentences.append(
            "Tokens are renewed in time."
            if signs.looping
            else "Tokens are handed out; roost-shepherd renews them."
        )
    return Health(good, tuple(sentences))


def _at(moment: float) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(moment))
