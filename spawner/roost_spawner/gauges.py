"""What Prometheus sees of the moment: sessions, clusters, capacity, the site file.

Looked up when it is asked for, so that nothing is shown that is not there any more.  A scrape asks
no scheduler and waits for nobody: it shows the last sample of each cluster's capacity, and has the
next one taken if that is older than a minute.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from roost_spawner.errors import RoostError
from roost_spawner.record import SessionState
from roost_spawner.sessions import registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from roost_spawner.capacity import Sample
    from roost_spawner.clusters.base import Pool
    from roost_spawner.engine import Engine

SAMPLE_AGE = 60.0
"""Seconds after which a scrape has the capacity of a cluster asked for again."""
STATES = tuple(state for state in SessionState if state is not SessionState.ENDED)


class Gauges:
    """Reads what an engine knows.  Nothing is shown before there is one."""

    def __init__(self) -> None:
        self.engine: Engine | None = None

    def describe(self) -> list[Metric]:
        """Return no names: which there are depends on the site."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield what is known now."""
        if self.engine is not None:
            yield from _sessions(self.engine)
            yield from _clusters(self.engine)
            yield from _pools(self.engine)
            yield from _site_file(self.engine)


def _sessions(engine: Engine) -> Iterator[Metric]:
    sessions = GaugeMetricFamily(
        "roost_sessions",
        "Sessions whose job is there or about to be, by where they stand",
        labels=["profile", "cluster", "state"],
    )
    places = {(name, profile.cluster) for name, profile in engine.site.profiles.items()}
    found = Counter(
        (session.record.profile, session.record.cluster, session.record.state)
        for session in registry
        if not session.record.ended
    )
    for place in sorted(places | {key[:2] for key in found}):
        for state in STATES:
            sessions.add_metric([*place, state], found[(*place, state)])
    yield sessions


def _clusters(engine: Engine) -> Iterator[Metric]:
    reachable = GaugeMetricFamily(
        "roost_cluster_reachable", "1 while the batch system answers, else 0", labels=["cluster"]
    )
    queries = CounterMetricFamily(
        "roost_cluster_queries",
        "Questions about jobs and capacity that the batch system was asked",
        labels=["cluster"],
    )
    for name in engine.site.clusters:
        watcher = engine.watcher(name)
        reachable.add_metric([name], watcher.away_since is None)
        queries.add_metric([name], watcher.budget.asked)
    yield reachable
    yield queries


def _pools(engine: Engine) -> Iterator[Metric]:
    labels = ["cluster", "pool", "unit"]
    capacity = GaugeMetricFamily(
        "roost_pool_capacity", "Slots, cores and GPUs that there are", labels=labels
    )
    free = GaugeMetricFamily(
        "roost_pool_free", "Slots, cores and GPUs that are free", labels=labels
    )
    waiting = GaugeMetricFamily(
        "roost_pool_waiting_jobs", "Jobs that wait for it, whoever's", labels=labels[:2]
    )
    busy = GaugeMetricFamily(
        "roost_pool_busy_cores", "Load of the jobs in an overbooked pool", labels=labels[:2]
    )
    real = GaugeMetricFamily(
        "roost_pool_real_cores", "Cores that its nodes really have", labels=labels[:2]
    )
    sampled = GaugeMetricFamily(
        "roost_pool_sample_timestamp_seconds",
        "When the batch system said so, in seconds since the epoch",
        labels=labels[:1],
    )
    for name in engine.site.clusters:
        sample = _sample(engine, name)
        if sample is None or sample.capacity is None:
            continue
        sampled.add_metric([name], sample.at)
        for kind, pool in sample.capacity.pools.items():
            place = [name, kind]
            for unit, total, left in _units(pool):
                capacity.add_metric([*place, unit], total)
                free.add_metric([*place, unit], left)
            waiting.add_metric(place, pool.waiting)
            if pool.use is not None:
                busy.add_metric(place, pool.use.cores_busy)
                real.add_metric(place, pool.use.cores_real)
    yield from (capacity, free, waiting, busy, real, sampled)


def _units(pool: Pool) -> Iterator[tuple[str, int, int]]:
    yield pool.unit, pool.total, pool.free
    yield "gpus", pool.gpus_total, pool.gpus_free


def _sample(engine: Engine, name: str) -> Sample | None:
    try:
        return engine.capacity(name).glance(SAMPLE_AGE)
    except RoostError:  # a scrape shows the rest
        return None


def _site_file(engine: Engine) -> Iterator[Metric]:
    good = GaugeMetricFamily(
        "roost_site_file_good", "1 if the site file on disk is the one in force, 0 if it is refused"
    )
    good.add_metric([], engine.file.error is None)
    loaded = GaugeMetricFamily(
        "roost_site_file_loaded_timestamp_seconds",
        "When the site file that is in force was read, in seconds since the epoch",
    )
    loaded.add_metric([], engine.file.loaded_at)
    yield from (good, loaded)


gauges = Gauges()
"""The hub process's own."""
REGISTRY.register(gauges)
