"""What differs between two site files, in words for who changed it.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from roost_spawner.site.models import Site

_BY_NAME = {"clusters": "Cluster", "profiles": "Profile"}
WHERE = frozenset({"kind", "collector", "schedd", "broker"})
"""What says which batch system a cluster is."""


def differing(old: BaseModel, new: BaseModel) -> tuple[str, ...]:
    """Return the names of the settings that two models do not agree on."""
    return tuple(
        name
        for name in dict.fromkeys([*type(old).model_fields, *type(new).model_fields])
        if getattr(old, name, None) != getattr(new, name, None)
    )


def changes(old: Site, new: Site) -> tuple[str, ...]:
    """Return a sentence for each profile and cluster that changed, and one for the rest."""
    said: list[str] = []
    for field, word in _BY_NAME.items():
        said += _named(word, getattr(old, field), getattr(new, field))
    if rest := [name for name in differing(old, new) if name not in _BY_NAME]:
        said.append(f"Changed for the whole site: {', '.join(rest)}.")
    return tuple(said)


def _named(word: str, old: Mapping[str, BaseModel], new: Mapping[str, BaseModel]) -> list[str]:
    said = [f"{word} {name} is new." for name in new if name not in old]
    said += [f"{word} {name} was removed." for name in old if name not in new]
    said += [
        f"{word} {name} changed: {', '.join(differing(old[name], new[name]))}."
        for name in new
        if name in old and old[name] != new[name]
    ]
    return said


def unsafe(old: Site, new: Site, busy: Mapping[str, int]) -> tuple[str, ...]:
    """Return why sessions that run would be lost by a change, a sentence each.

    Parameters
    ----------
    old, new
        The site as it is, and as it would be.
    busy
        How many sessions each cluster has.
    """
    said = []
    if new.hub_id != old.hub_id:
        said.append(
            f"hub_id: {new.hub_id!r} is not {old.hub_id!r}, which all jobs of this hub bear; "
            "it cannot change while the hub runs. Put it back, or restart the hub when no "
            "session is left."
        )
    for name, cluster in new.clusters.items():
        sessions, before = busy.get(name, 0), old.clusters.get(name)
        if not sessions or before is None:
            continue
        moved = [field for field in differing(before, cluster) if field in WHERE]
        if moved:
            count = f"{sessions} session{'s' if sessions > 1 else ''}"
            said.append(
                f"clusters.{name}: {', '.join(moved)} cannot change while it has {count}, which "
                "another batch system does not know. Give the new one a name of its own and point "
                "the profiles to it; or wait: the change is taken when the last of them has ended."
            )
    return tuple(said)
