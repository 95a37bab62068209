"""Whether somebody gives the notebooks' slots away, by the collector's word.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Ad = Mapping[str, Any]

CONSTRAINT = "LastHeardFrom > time() - 660"
"""By the collector's clock: a negotiator tells of itself every five minutes, or more often, and an
ad of one that was killed stays for a while."""
PROJECTION = ("Name",)
SERVED_BY = "RoostNegotiator"
"""In the ad of a slot: the local name of the negotiator that gives it away."""


def missing(slots: Sequence[Ad], negotiators: Sequence[Ad] | None) -> str:
    """Return why none of the slots is given to anybody; empty if one may be.

    Parameters
    ----------
    slots
        Ads of slots, with :data:`SERVED_BY` where the node's configuration tells it.
    negotiators
        Ads of those that the collector has heard of lately; None if it does not tell.
    """
    if negotiators is None:
        return ""
    there = [str(ad.get("Name", "")) for ad in negotiators]
    after = "Nothing starts until the pool's admins have started it."
    if not there:
        return f"The pool has no negotiator at the moment. {after}"
    wanted = {slot.get(SERVED_BY) for slot in slots}
    names = {name for name in wanted if isinstance(name, str) and name}
    if len(names) < len(wanted):
        return ""  # some slots do not say
    if not names or any(_is(one, name) for one in there for name in names):
        return ""
    return f"The pool's negotiator for notebooks is not there. {after}"


def _is(full: str, local: str) -> bool:
    # HTCondor's names: local@host, of one without a local name the host alone.
    return full.partition("@")[0].lower() == local.lower()
