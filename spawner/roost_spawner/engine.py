"""What all spawners of one hub share: the site file, the clusters, and their watchers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from roost_shepherd.errors import ShepherdError

from roost_spawner import metrics
from roost_spawner.capacity import CapacityCache
from roost_spawner.errors import RoostError, SiteError
from roost_spawner.origin import Origin
from roost_spawner.reaper import Reaper
from roost_spawner.sessions import registry
from roost_spawner.site.changes import unsafe
from roost_spawner.site.live import LOOK_EVERY, SiteFile
from roost_spawner.site.models import HTCondorCluster, SlurmCluster
from roost_spawner.watch import Watcher

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from roost_shepherd.shepherd import AccessToken, Shepherd

    from roost_spawner.clusters.base import Cluster
    from roost_spawner.site.models import Site

    Build = Callable[[str, HTCondorCluster | SlurmCluster, "Engine"], Cluster]


def build_cluster(name: str, model: HTCondorCluster | SlurmCluster, engine: Engine) -> Cluster:
    """Return the cluster that a part of the site file describes."""
    hub_id = engine.site.hub_id
    if isinstance(model, HTCondorCluster):
        from roost_spawner.clusters.htcondor.pool import HTCondorPool  # noqa: PLC0415 - a family is loaded if used

        return HTCondorPool(
            name=name,
            hub_id=hub_id,
            collector=model.collector,
            schedd=model.schedd,
            audience=model.audience,
            watch_token=model.watch_token,
            ca_file=model.ca_file,
            log=engine.log,
        )
    from roost_spawner.clusters.slurm.client import SlurmBroker  # noqa: PLC0415 - likewise

    async def watch_token() -> str:
        token = await engine.shepherd.service_token(
            audience=model.audience, scopes=("compute.read",)
        )
        return token.value

    return SlurmBroker(
        name=name,
        hub_id=hub_id,
        broker=model.broker,
        audience=model.audience,
        watch_token=watch_token,
        ca_file=model.ca_file,
        log=engine.log,
    )


class Engine:
    """The shared part of a hub.

    Parameters
    ----------
    site_file
        Path of the site file.
    shepherd
        Who keeps the tokens.
    log
        The hub's log.
    build
        Makes a cluster from its part of the site file.
    """

    def __init__(
        self,
        site_file: Path,
        shepherd: Shepherd,
        log: logging.Logger,
        build: Build = build_cluster,
    ) -> None:
        self.shepherd = shepherd
        self.log = log
        self.file = SiteFile(site_file, log, unsafe=_unsafe)
        self.on_change: list[Callable[[Site], Sequence[str]]] = []
        """Told of each new site that is in force; they return what follows from it, in words."""
        self._followed: Site | None = None
        self._following: asyncio.Task[None] | None = None
        self._build = build
        self._clusters: dict[str, tuple[HTCondorCluster | SlurmCluster, Cluster]] = {}
        self._watchers: dict[str, Watcher] = {}
        self._capacities: dict[str, CapacityCache] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._warming: dict[tuple[str, str], asyncio.Task[None]] = {}
        self.origin = Origin()
        """Makes the ids of sessions; with the hub's secret once the hub has started."""
        self.recovered = False
        """Whether every session that the database knows has been taken up."""

    @property
    def site(self) -> Site:
        """The site file as it is now."""
        return self.file.site

    def cluster(self, name: str) -> Cluster:
        """Return a cluster by name.

        One that was taken out of the site file stays for the sessions that it still has.
        """
        model = self.site.clusters.get(name)
        known = self._clusters.get(name)
        if model is None:
            if known is None:
                raise SiteError(f"The site file has no cluster {name!r} any more.")
            return known[1]
        if known is not None and known[0] == model:
            return known[1]
        made = self._build(name, model, self)
        self._clusters[name] = (model, made)
        if known is not None:
            self._close_soon(known[1].close())
        return made

    def _close_soon(self, closing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def cluster_token(self, owner: str, cluster: Cluster) -> AccessToken:
        """Return a user's own access token for a cluster, good for the length of a call."""
        return await self.shepherd.access_token(
            owner, audience=cluster.audience, scopes=cluster.submit_scopes, min_valid=30
        )

    def watcher(self, name: str) -> Watcher:
        """Return the one watcher of a cluster."""
        if name not in self._watchers:
            self._watchers[name] = Watcher(
                name,
                lambda: self.cluster(name),
                registry,
                self.log,
                pauses=lambda: (self.site.watch.moving, self.site.watch.steady),
                reaper=Reaper(
                    self.site.hub_id,
                    lambda: self.cluster(name),
                    registry,
                    self.shepherd,
                    lambda: self.recovered,
                    self.log,
                    self._has_made,
                ),
            )
        return self._watchers[name]

    def _has_made(self, mark: str) -> bool:
        return self.origin.made(mark)

    def capacity(self, name: str) -> CapacityCache:
        """Return what is known of a cluster's capacity."""
        if name not in self._capacities:
            self._capacities[name] = CapacityCache(
                lambda: self.cluster(name),
                max_age=lambda: self.site.watch.capacity,
                may_ask=self.watcher(name).budget.take,
                log=self.log,
            )
        return self._capacities[name]

    def watch_all(self) -> None:
        """Watch every cluster of the site file, whether it has a session or not."""
        for name in self.site.clusters:
            self.watcher(name).follow()

    def follow(self) -> None:
        """Take up each change of the site file from now on, whether anybody asks for it or not."""
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="roost-site-file")

    async def _follow(self) -> None:
        while True:
            try:
                self.refresh()
            except Exception:
                self.log.exception("A change of the site file could not be taken up whole")
            await asyncio.sleep(LOOK_EVERY)

    def refresh(self) -> None:
        """Act on a change of the site file, if there is one."""
        site = self.site
        if site is not self._followed:
            first, self._followed = self._followed is None, site
            self.watch_all()
            metrics.expect(
                {name: profile.cluster for name, profile in site.profiles.items()},
                {name: profile.overflow for name, profile in site.profiles.items()},
            )
            said = [sentence for tell in self.on_change for sentence in tell(site)]
            if said and not first:
                self.file.add(said)
        gone = self._watchers.keys() - site.clusters.keys()
        for name in gone - {session.record.cluster for session in registry}:
            self._retire(name)

    def _retire(self, name: str) -> None:
        """Let go of a cluster that is in the site file no more and has no session any more."""
        self.log.info("Cluster %s is not watched any more", name)
        capacity, known = self._capacities.pop(name, None), self._clusters.pop(name, None)
        self._close_soon(self._watchers.pop(name).close())
        if capacity is not None:
            self._close_soon(capacity.close())
        if known is not None:
            self._close_soon(known[1].close())

    def warm(self, owner: str, name: str) -> None:
        """Prepare a cluster for a user who is about to start something there; does not wait."""
        key = (owner, name)
        if key not in self._warming:
            self._warming[key] = asyncio.ensure_future(self._warm(owner, name))
            self._warming[key].add_done_callback(lambda _: self._warming.pop(key, None))

    async def _warm(self, owner: str, name: str) -> None:
        try:
            cluster = self.cluster(name)
            await asyncio.gather(cluster.warm(), self.cluster_token(owner, cluster))
        except (RoostError, ShepherdError) as error:
            # Whoever starts something is told by the start itself.
            self.log.debug("Cluster %s is not prepared for %s: %s", name, owner, error)

    async def close(self) -> None:
        """Release clusters and watchers."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        for capacity in self._capacities.values():
            await capacity.close()
        for watcher in self._watchers.values():
            await watcher.close()
        for _, cluster in self._clusters.values():
            await cluster.close()


def _unsafe(old: Site, new: Site) -> Sequence[str]:
    busy = Counter(session.record.cluster for session in registry if not session.record.ended)
    return unsafe(old, new, busy)


_engines: dict[Path, Engine] = {}


def shared_engine(
    site_file: Path, shepherd: Shepherd, log: logging.Logger, build: Build = build_cluster
) -> Engine:
    """Return the one engine of this process for a site file."""
    engine = _engines.get(site_file)
    if engine is None or engine.shepherd is not shepherd:
        engine = _engines[site_file] = Engine(site_file, shepherd, log, build)
    return engine
