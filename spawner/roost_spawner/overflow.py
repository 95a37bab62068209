"""Which profiles take the place of one that does not start, and what of a choice goes with it.

Pure.  The order is that of the chosen profile's ``overflow``, then that of theirs; each profile
comes up once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost_spawner.errors import ChoiceRefused
from roost_spawner.options import CHOOSABLE, SHARE_TOKENS, Selection, quantity, resolve, visible
from roost_spawner.outlook import Starts, outlook_of
from roost_spawner.site.profiles import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from roost_spawner.capacity import Sample
    from roost_spawner.clusters.base import Resources
    from roost_spawner.site.models import Profile, Site
    from roost_spawner.site.quantities import Quantity

REACH = 5.0
"""Seconds that a cluster which cannot be reached is waited for while another could do."""


@dataclass(frozen=True, slots=True)
class Step:
    """A profile that can be tried."""

    selection: Selection
    remark: str = ""
    """What of the choice it cannot give and does without, a sentence for the user."""

    @property
    def name(self) -> str:
        """The profile's name."""
        return self.selection.name


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried in turn."""

    steps: tuple[Step, ...]
    """The first is what was chosen."""
    left_out: tuple[str, ...] = ()
    """Why a profile is not among them that the site file names, a sentence for each."""


def plan(
    site: Site,
    groups: Collection[str],
    options: Mapping[str, object],
    defaults: Mapping[str, str] | None = None,
) -> Plan:
    """Return what is tried in turn for a user's choice.

    What was chosen explicitly goes along.  A value that is the chosen profile's own default counts
    as not chosen: a form always sends it.  A profile that cannot give what was chosen is left out,
    with the reason; only walltime is cut down to what it gives.  Profiles that the user may not see
    are passed over in silence.

    Parameters
    ----------
    site, groups, options, defaults
        As for :func:`roost_spawner.options.resolve`.

    Raises
    ------
    ChoiceRefused
        If the choice itself is not allowed.
    """
    defaults = defaults or {}
    first = resolve(site, groups, options, defaults)
    chosen = _chosen(first, options, defaults)
    mine = visible(site, groups)
    steps, left_out = [Step(first)], []
    for name in _order(site, first.name):
        if (profile := mine.get(name)) is None:
            continue
        try:
            steps.append(_step(site, groups, name, profile, chosen, options, defaults))
        except ChoiceRefused as error:
            left_out.append(error.sentence)
    return Plan(tuple(steps), tuple(left_out))


def patience_of(site: Site, name: str) -> float:
    """Return the seconds that a profile may wait in the queue while another could do."""
    profile = site.profiles.get(name)
    return float((profile.patience if profile else None) or PATIENCE)


def full(sample: Sample | None, wanted: Resources, *, max_age: float, now: float) -> str:
    """Return why a session would have to wait, a sentence; empty if it may start at once.

    Who knows nothing, or nothing recent, says nothing: it is found out by trying.

    Parameters
    ----------
    sample
        What is known of the cluster.
    wanted
        What the session asks for.
    max_age
        Seconds after which that says nothing any more.
    now
        Seconds since the epoch.
    """
    if sample is None or sample.capacity is None or sample.problem or now > sample.at + max_age:
        return ""
    if sample.capacity.of(wanted) is None:
        return ""  # where the cluster itself puts it
    found = outlook_of(sample, wanted, now=now)
    return "" if found.starts is Starts.NOW else found.why


def _order(site: Site, first: str) -> Iterator[str]:
    seen, queue = {first}, [first]
    for name in queue:  # grows meanwhile
        profile = site.profiles.get(name)
        for other in profile.overflow if profile else ():
            if other not in seen:
                seen.add(other)
                queue.append(other)
                yield other


def _chosen(
    first: Selection, options: Mapping[str, object], defaults: Mapping[str, str]
) -> dict[str, int]:
    """Return what the user chose otherwise than the profile's own default, by field."""
    found = {}
    for field in CHOOSABLE:
        choice = quantity(first.profile, field, defaults)
        if field in options and (value := choice.parse(options[field])) != choice.default:
            found[field] = value
    return found


def _step(
    site: Site,
    groups: Collection[str],
    name: str,
    profile: Profile,
    chosen: Mapping[str, int],
    options: Mapping[str, object],
    defaults: Mapping[str, str],
) -> Step:
    taken: dict[str, object] = {"profile": name}
    remarks = []
    for field, value in chosen.items():
        choice = quantity(profile, field, defaults)
        given = _at_least(choice, value)
        if given is None and field == "walltime":
            given = choice.limit
            remarks.append(f"A session of {profile.title} lasts {choice.show(given)} at most.")
        if given is None:
            raise ChoiceRefused(
                f"{profile.title} is left out: it gives {field}: {choice.allowed}; you asked for "
                f"{choice.show(value)}."
            )
        taken[field] = given if field in {"cpus", "gpus"} else choice.show(given)
    if options.get(SHARE_TOKENS) == "yes":
        if site.may_share_tokens(profile):
            taken[SHARE_TOKENS] = "yes"
        else:
            remarks.append(f"{profile.title} shares no access tokens with others.")
    return Step(resolve(site, groups, taken, defaults), " ".join(remarks))


def _at_least(choice: Quantity, value: int) -> int | None:
    """Return the least that may be chosen and is not less than a value; None if all is less."""
    if choice.admits(value):
        return value
    return min((one for one in choice.choices or (choice.default,) if one >= value), default=None)
