"""Whether the parts of a site file fit together.  Pure.

Apart from validation, so that every such mistake is named with its own line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost_spawner.site.extras import extras_problem
from roost_spawner.site.mistakes import no_such

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from roost_spawner.site.clusters import HTCondorCluster, SlurmCluster
    from roost_spawner.site.models import Site
    from roost_spawner.site.profiles import Profile

Place = tuple[str | int, ...]
Problem = tuple[Place, str]

_FOR_KIND = {
    "htcondor": ("slot", "submit_commands"),
    "slurm": (
        "partition",
        "account",
        "qos",
        "constraint",
        "reservation",
        "gpu_type",
        "sbatch_options",
    ),
}
_INSTEAD = {
    "gpu_type": "; write submit_commands: {require_gpus: ...} instead",
    "account": "; write submit_commands: {accounting_group: ...} instead",
}


def problems(site: Site) -> Iterator[Problem]:
    """Yield what does not fit together, each with its place in the file."""
    for name, profile in site.profiles.items():
        place = ("profiles", name)
        cluster = site.clusters.get(profile.cluster)
        if cluster is None:
            yield (*place, "cluster"), no_such("cluster", profile.cluster, site.clusters)
        else:
            yield from _of_kind(place, profile, cluster)
        yield from _overflow(place, name, profile, site.profiles)
    yield from _circles(site.profiles)


def _of_kind(
    place: Place, profile: Profile, cluster: HTCondorCluster | SlurmCluster
) -> Iterator[Problem]:
    """Yield what a profile says that its batch system does not know, or will not have."""
    for kind, fields in _FOR_KIND.items():
        for field in fields:
            if kind != cluster.kind and getattr(profile, field) is not None:
                yield (
                    (*place, field),
                    (
                        f"{field} means something on {kind} only, and cluster "
                        f"{profile.cluster!r} is of kind {cluster.kind}"
                        f"{_INSTEAD.get(field, '')}"
                    ),
                )
    field = "submit_commands" if cluster.kind == "htcondor" else "sbatch_options"
    extras: dict[str, str] = getattr(profile, field) or {}
    wrong: list[Problem] = [
        ((*place, field, key), said)
        for key, value in extras.items()
        if (said := extras_problem(cluster.kind, {key: value}))
    ]
    if not wrong and (said := extras_problem(cluster.kind, extras)):
        wrong = [((*place, field), said)]
    yield from wrong


def _overflow(
    place: Place, name: str, profile: Profile, profiles: Mapping[str, Profile]
) -> Iterator[Problem]:
    """Yield where a profile cannot overflow to."""
    for index, target in enumerate(profile.overflow):
        where = (*place, "overflow", index)
        if target not in profiles:
            yield where, no_such("profile", target, [other for other in profiles if other != name])
        elif target in profile.overflow[:index]:
            yield where, f"{target!r} is named twice; each profile is tried once"


def _circles(profiles: Mapping[str, Profile]) -> Iterator[Problem]:
    """Yield each circle of overflows, at the step that closes it."""
    done: set[str] = set()

    def follow(path: list[str]) -> Iterator[Problem]:
        for index, target in enumerate(profiles[path[-1]].overflow):
            if target in path:
                circle = " -> ".join([*path[path.index(target) :], target])
                yield (
                    ("profiles", path[-1], "overflow", index),
                    f"overflow goes round in a circle: {circle}; take one of these steps out",
                )
            elif target in profiles and target not in done:
                yield from follow([*path, target])
        done.add(path[-1])

    for name in profiles:
        if name not in done:
            yield from follow([name])
