"""Where a job runs, by the collector's ads of slots, which are the nodes' own word.  Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from roost_spawner.clusters.base import JobView

PROJECTION = ("Name", "Machine", "JobId", "GlobalJobId", "RemoteOwner")
_SLOT = re.compile(r"[A-Za-z0-9_.-]{1,100}@[A-Za-z0-9_.-]{1,255}")


def constraint(view: JobView) -> str:
    """Return the query for the slots that may have a job."""
    found = f'JobId =?= "{view.job_id}"'
    slot = view.slot or ""
    return f'{found} || Name == "{slot}"' if _SLOT.fullmatch(slot) else found


def node(
    view: JobView, slots: Iterable[Mapping[str, Any]], schedd: str, *, trusted: bool
) -> str | None:
    """Return the node of a job; None if the slots do not tell, or do not agree.

    Parameters
    ----------
    view
        The job.
    slots
        Ads of slots with :data:`PROJECTION`.
    schedd
        Its access point's name.
    trusted
        Whether the access point keeps ``RemoteHost`` from the job: then the slot of that name is
        where it is, also while its ad does not show the job yet (for a second).
    """
    own, named = set(), set()
    for ad in slots:
        machine = ad.get("Machine")
        if not isinstance(machine, str) or not machine:
            continue
        if _has(ad, view, schedd):
            own.add(machine)
        if trusted and view.slot and str(ad.get("Name", "")).lower() == view.slot.lower():
            named.add(machine)
    found = own or named
    return found.pop() if len(found) == 1 else None


def _has(ad: Mapping[str, Any], view: JobView, schedd: str) -> bool:
    # <access point>#<cluster>.<proc>#<time>; a number alone may be another access point's job.
    point, _, number = str(ad.get("GlobalJobId", "")).rpartition("#")[0].rpartition("#")
    owner = str(ad.get("RemoteOwner", "")).partition("@")[0]
    return point.lower() == schedd.lower() and number == view.job_id and owner == view.owner


def protects(ad: Mapping[str, Any], name: str) -> bool:
    """Whether an access point's ad says that it keeps an attribute from its jobs."""
    said = str(ad.get("RoostProtectedJobAttrs", ""))
    return name.lower() in re.split(r"[\s,]+", said.lower())
