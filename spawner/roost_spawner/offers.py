"""What a user is offered: each profile that they may use, its limits, and how it stands.  Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from roost_spawner.options import CHOOSABLE, quantity, resolve, visible
from roost_spawner.outlook import UNKNOWN, Outlook, Starts, outlook_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from roost_spawner.capacity import Sample
    from roost_spawner.clusters.base import Resources
    from roost_spawner.site.models import Profile, Site
    from roost_spawner.site.quantities import Quantity

STALE = 60.0
"""Seconds beyond the age that a figure may have, after which it keeps nobody from anything."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A profile as a user may have it."""

    name: str
    profile: Profile
    choices: Mapping[str, Quantity]
    """What may be chosen, by :data:`~roost_spawner.options.CHOOSABLE`."""
    outlook: Outlook
    overflow: tuple[Offer, ...] = ()
    """What is tried in turn where this one does not start, as far as the user may use it."""

    @property
    def closed(self) -> bool:
        """Whether choosing it leads nowhere: it never starts, nor does what takes its place."""
        return all(offer.outlook.starts is Starts.NEVER for offer in (self, *self.overflow))


def offers(
    site: Site,
    groups: Collection[str],
    defaults: Mapping[str, str],
    samples: Mapping[str, Sample | None],
    *,
    expected: Callable[[str], float | None] = lambda _: None,
    now: float,
) -> list[Offer]:
    """Return what a member of `groups` is offered, in the file's order.

    Parameters
    ----------
    site
        The site file as it is now.
    groups
        The user's groups.
    defaults
        The spawner's ``req_*`` values by field.
    samples
        What each cluster had free when it was last asked.
    expected
        Returns the seconds that starts of a profile took lately which had to wait, if known.
    now
        Seconds since the epoch.
    """
    plain: dict[str, Offer] = {}
    for name, profile in visible(site, groups).items():
        wanted = resolve(site, groups, {"profile": name}, defaults).resources
        sample = samples.get(profile.cluster)
        plain[name] = Offer(
            name,
            profile,
            {field: quantity(profile, field, defaults) for field in CHOOSABLE},
            _outlook(sample, wanted, expected(name), now, site.watch.capacity),
        )
    return [
        replace(
            offer,
            overflow=tuple(plain[name] for name in offer.profile.overflow if name in plain),
        )
        for offer in plain.values()
    ]


def _outlook(
    sample: Sample | None, wanted: Resources, expected_s: float | None, now: float, max_age: float
) -> Outlook:
    found = outlook_of(sample, wanted, expected_s=expected_s, now=now)
    if now > found.as_of + max_age + STALE:
        # It may be otherwise by now: nobody is locked out, or led on, by what was.
        return replace(found, starts=Starts.UNKNOWN, words=UNKNOWN)
    return found


def version(offered: Sequence[Offer]) -> str:
    """Return what changes when an admin changes what is offered, and only then."""
    said = [(offer.name, offer.profile, dict(offer.choices)) for offer in offered]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:12]
