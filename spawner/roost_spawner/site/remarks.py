"""What is allowed in a site file, and surely not meant.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost_spawner.site.units import show_moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roost_spawner.site.fit import Place, Problem
    from roost_spawner.site.models import Site
    from roost_spawner.site.profiles import TokenWish


def remarks(site: Site, now: float) -> Iterator[Problem]:
    """Yield what an admin should look at, each with its place in the file.

    Parameters
    ----------
    site
        A good one.
    now
        Seconds since the epoch.
    """
    for index, announcement in enumerate(site.announcements):
        if announcement.ends is not None and announcement.ends.timestamp() <= now:
            yield (
                ("announcements", index),
                f"this is over since {show_moment(announcement.ends)}; nobody sees it",
            )
    titles: dict[str, str] = {}
    for name, profile in site.profiles.items():
        place = ("profiles", name)
        if profile.patience is not None and not profile.overflow:
            yield (*place, "patience"), "patience does nothing without overflow"
        if profile.gpu_type is not None and profile.gpus is None:
            yield (*place, "gpu_type"), "gpu_type does nothing without gpus"
        other = titles.setdefault(profile.title, name)
        if other != name:
            yield (*place, "title"), f"profile {other!r} has the same title"
    yield from _slashes(site)
    yield from _powers(site)


def _powers(site: Site) -> Iterator[Problem]:
    """Yield tokens with which a session's programs could start or end jobs as their owner."""
    clusters = {one.audience: name for name, one in site.clusters.items() if one.audience}
    wishes: dict[Place, TokenWish] = {("tokens", name): one for name, one in site.tokens.items()}
    for profile, its in site.profiles.items():
        for name, wish in (its.tokens or {}).items():
            wishes["profiles", profile, "tokens", name] = wish
    for place, wish in wishes.items():
        compute = sorted(scope for scope in wish.scope.split() if scope.startswith("compute."))
        if compute:
            yield (
                (*place, "scope"),
                f"with {', '.join(compute)} whatever runs in a session may act on its owner's jobs",
            )
        if wish.audience in clusters:
            cluster = clusters[wish.audience]
            yield (
                (*place, "audience"),
                f"this is the audience of cluster {cluster!r}, which takes the token from any job",
            )


def _slashes(site: Site) -> Iterator[Problem]:
    """Yield groups that are written in two ways; both mean the same."""
    spelled: dict[str, str] = {}
    for place, groups in (
        (("defaults", "groups"), site.defaults.groups),
        *((("profiles", name, "groups"), one.groups) for name, one in site.profiles.items()),
    ):
        for index, group in enumerate(groups):
            if len(group.split()) > 1:
                yield (
                    (*place, index),
                    f"{group!r} has a blank, as no group of an IAM has: nobody is in",
                )
            first = spelled.setdefault(group.strip("/"), group)
            if first != group:
                yield (*place, index), f"{group!r} and {first!r} are the same group"
