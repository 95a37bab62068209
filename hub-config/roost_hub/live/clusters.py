"""Ask one cluster what it has, as the hub's watcher; nothing is submitted."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from roost_shepherd.expiry import jwt_expiry
from roost_spawner.clusters.htcondor.pool import HTCondorPool
from roost_spawner.errors import RoostError
from roost_spawner.site.models import HTCondorCluster

from roost_hub.live import protections
from roost_hub.live.verdicts import Finding, Verdict, of_watch_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roost_spawner.clusters.base import Capacity, Cluster, Judgement
    from roost_spawner.site.models import SlurmCluster

    from roost_hub.live.verdicts import Ask


@dataclass(slots=True)
class Seen:
    """What a cluster said, as far as it did."""

    findings: list[Finding] = field(default_factory=list)
    capacity: Capacity | None = None
    judgements: dict[Ask, Judgement] = field(default_factory=dict)


async def look_at(
    cluster: Cluster, model: HTCondorCluster | SlurmCluster, asks: Sequence[Ask], within: float
) -> Seen:
    """Ask a cluster for what it has, for its queue, and what its rules make of each wish.

    Parameters
    ----------
    cluster, model
        The cluster, and what the site file says of it.
    asks
        What its profiles may ask for.
    within
        Seconds for all of it.
    """
    seen, about = Seen(), f"cluster {cluster.name}"
    if isinstance(model, HTCondorCluster):
        token = _watch_token(about, model.watch_token)
        seen.findings.append(token)
        if token.verdict is Verdict.BAD:
            return seen
    try:
        async with asyncio.timeout(within):
            began = time.monotonic()
            seen.capacity = await cluster.capacity()
            await cluster.watch()
            took = 1000 * (time.monotonic() - began)
            said = f"It answers the watcher, with its queue and what it has, in {took:.0f} ms."
            seen.findings.append(Finding(about, Verdict.GOOD, said))
            seen.findings += await _protections(about, cluster, model)
            await _judge(cluster, asks, seen)
    except TimeoutError:
        said = f"It did not answer within {within:.0f} s."
        seen.findings.append(Finding(about, Verdict.BAD, said, _hint(model)))
    except RoostError as error:
        said = f"{error.sentence} ({error.detail})" if error.detail else error.sentence
        seen.findings.append(Finding(about, Verdict.BAD, said, _hint(model)))
    return seen


async def _protections(
    about: str, cluster: Cluster, model: HTCondorCluster | SlurmCluster
) -> list[Finding]:
    if not isinstance(model, HTCondorCluster):
        return [protections.of_slurm(about)]
    if not isinstance(cluster, HTCondorPool):
        return []
    found = protections.of_access_point(about, await cluster.access_point(protections.ACCESS_POINT))
    return [*found, protections.of_nodes(about, await cluster.reserved(protections.SLOT))]


async def _judge(cluster: Cluster, asks: Sequence[Ask], seen: Seen) -> None:
    try:
        for ask in asks:
            seen.judgements[ask] = await cluster.judge(ask.wanted, ask.extras)
    except RoostError as error:
        said = f"What its rules say to the profiles cannot be asked: {error.sentence}"
        hint = f"An older broker does not tell ({error.detail})."
        seen.findings.append(Finding(f"cluster {cluster.name}", Verdict.UNKNOWN, said, hint))


def _hint(model: HTCondorCluster | SlurmCluster) -> str:
    if isinstance(model, HTCondorCluster):
        return "Are collector and schedd right, and may this host and the watch token READ there?"
    return (
        "Are broker, audience and ca_file right, does the broker run, and is the hub's client with "
        "its hub_id one of the [[watchers]] of broker.toml?"
    )


def _watch_token(about: str, path: Path) -> Finding:
    try:
        text = Path(path).read_text(encoding="ascii").strip()
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        said = f"The watch token {path} cannot be read: {reason}."
        return Finding(about, Verdict.BAD, said, "Call this as the account that the hub runs as.")
    if mode & 0o077:
        said = f"The watch token {path} is open to others."
        return Finding(about, Verdict.BAD, said, f"chmod go= {path}")
    if text.count(".") != 2:
        said = f"{path} holds no IDTOKEN."
        return Finding(about, Verdict.BAD, said, "condor_token_create makes one.")
    return of_watch_token(about, jwt_expiry(text), now=time.time())
