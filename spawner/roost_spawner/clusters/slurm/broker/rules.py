"""What Slurm would say to a job that nobody submits: partition rules, names that exist.  Pure.

slurmrestd (24.11) tests no submit as ``sbatch --test-only`` does: this is what the rest of its API
tells.  Field names are those of data parser v0.0.42.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.slurm.broker.views import text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from roost_spawner.clusters.slurm.broker.wishes import Wish

    Raw = Mapping[str, Any]

_FEATURE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def problems(
    wish: Wish, *, fact: Raw, nodes: Iterable[Raw], reservations: Iterable[Raw]
) -> Iterator[str]:
    """Say why Slurm would refuse a job within the broker's limits, each in a sentence.

    Parameters
    ----------
    wish
        What the job would ask for.
    fact
        Its partition; empty if Slurm has none of that name.
    nodes, reservations
        All of them.
    """
    for name, kind in (("account", "accounts"), ("qos", "qos")):
        value = getattr(wish, name)
        if value is not None and not _allowed(value, fact.get(kind) or {}):
            yield f"Partition {wish.partition} does not take the {name} {value}."
    if wish.constraint is not None:
        known = {
            str(feature)
            for node in nodes
            if wish.partition in (node.get("partitions") or ())
            for feature in (node.get("features") or ())
        }
        for word in _FEATURE.findall(wish.constraint):
            if word not in known:
                yield f"No node of partition {wish.partition} has the feature {word}."
    if wish.reservation is not None:
        names = {text(reservation, "name") for reservation in reservations}
        if wish.reservation not in names:
            yield f"Slurm has no reservation {wish.reservation}."


def unchecked(wish: Wish) -> Iterator[str]:
    """Say what cannot be known without a submit, each in a sentence."""
    for name in ("account", "qos"):
        value = getattr(wish, name)
        if value is not None:
            yield f"Whether Slurm knows the {name} {value}, and for whom, shows at a submit only."
    if wish.options:
        listed = ", ".join(wish.options)
        yield f"What Slurm makes of {listed} shows at a submit only."


def _allowed(value: str, rule: Raw) -> bool:
    """Whether a partition takes an account or QOS (slurm.conf(5): AllowAccounts, DenyAccounts)."""
    allowed, denied = (set(text(rule, key).split(",")) - {""} for key in ("allowed", "deny"))
    return value not in denied and (not allowed or bool({value, "ALL"} & allowed))
