"""Everything that the admin page shows, as plain data: the page and the API are made of it.

Times are in seconds since the epoch, durations in seconds, memory in MiB.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from roost_spawner.record import SessionState
from roost_spawner.starts import Outcome

from roost_hub.admin.problems import problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from roost_shepherd.health import Health
    from roost_spawner.capacity import Sample
    from roost_spawner.clusters.base import Pool
    from roost_spawner.engine import Engine
    from roost_spawner.sessions import Session
    from roost_spawner.site.live import SiteFile
    from roost_spawner.starts import Ledger, Spread

MOST = 100
"""Sessions that are listed one by one."""
FRESH = 300.0
"""Seconds after which what a session said of its memory is not counted any more."""
_TROUBLED = frozenset(
    {SessionState.EVICTING, SessionState.HELD, SessionState.SUSPENDED, SessionState.UNKNOWN}
)


def report(
    engine: Engine,
    sessions: Iterable[Session],
    ledger: Ledger,
    samples: Mapping[str, Sample | None],
    tokens: dict[str, Any],
    *,
    now: float,
) -> dict[str, Any]:
    """Return how everything stands.

    Parameters
    ----------
    engine
        The hub's shared part.
    sessions
        All that the hub knows.
    ledger
        The starts of the last 24 hours.
    samples
        What each cluster had free when it was last asked.
    tokens
        See :func:`token_report`.
    now
        Seconds since the epoch.
    """
    alive = [session for session in sessions if not session.record.ended]
    site = engine.site
    found: dict[str, Any] = {
        "at": now,
        "since": ledger.since,
        "recovered": engine.recovered,
        "site_file": _file_report(engine.file),
        "clusters": [
            _cluster_report(engine, name, alive, samples.get(name), now - ledger.since, now)
            for name in site.clusters
        ],
        "profiles": [
            {"name": name, "title": profile.title, "cluster": profile.cluster}
            | _profile_report(name, alive, ledger, now)
            for name, profile in site.profiles.items()
        ],
        "tokens": tokens,
        "sessions": {"total": len(alive), "listed": session_list(alive)},
    }
    return found | {"problems": problems(found)}


def token_report(health: Health | None, grants: Mapping[str, int], away: float) -> dict[str, Any]:
    """Return how the custody of tokens does.

    Parameters
    ----------
    health
        The shepherd's word; None if the hub keeps no tokens.
    grants
        Their number by state.
    away
        For how many seconds the grant that waits longest could not be renewed; 0 if none waits.
    """
    return {
        "good": health is None or health.good,
        "said": [] if health is None else list(health.sentences),
        "grants": {state: count for state, count in grants.items() if count},
        "outage_seconds": away,
    }


def session_list(sessions: Iterable[Session]) -> list[dict[str, Any]]:
    """Return the sessions, those in trouble first, then those that start, then the newest."""

    def rank(session: Session) -> tuple[bool, bool, float]:
        record = session.record
        troubled = record.state in _TROUBLED or not session.reachable
        return not troubled, record.ready, -(record.ready_at or record.asked_at)

    return [_session(session) for session in sorted(sessions, key=rank)[:MOST]]


def _session(session: Session) -> dict[str, Any]:
    record = session.record
    return {
        "user": session.place[0],
        "server": session.place[1],
        "profile": record.profile,
        "cluster": record.cluster,
        "state": str(record.state) if session.reachable else "unreachable",
        "why": record.why,
        "node": record.node or None,
        "since": record.ready_at or record.asked_at or None,
        "ready": record.ready,
    }


def _file_report(file: SiteFile) -> dict[str, Any]:
    return {
        "path": str(file.path),
        "good": file.error is None,
        "said": [] if file.error is None else file.error.sentence.splitlines(),
        "loaded_at": file.loaded_at,
        "history": [
            {"at": one.at, "refused": one.refused, "said": list(one.said)} for one in file.history
        ],
    }


def _cluster_report(
    engine: Engine,
    name: str,
    sessions: Iterable[Session],
    sample: Sample | None,
    seconds: float,
    now: float,
) -> dict[str, Any]:
    watcher = engine.watcher(name)
    here = [session for session in sessions if session.record.cluster == name]
    capacity = None if sample is None else sample.capacity
    return {
        "name": name,
        "kind": engine.site.clusters[name].kind,
        "answers": watcher.away_since is None and watcher.answered_at is not None,
        "away_since": watcher.away_since,
        "answered_at": watcher.answered_at,
        "problem": watcher.problem,
        "asked_a_minute": round(60 * watcher.budget.asked / max(seconds, 60.0), 1),
        "sessions": len(here),
        "strangers": 0 if watcher.reaper is None else len(watcher.reaper.strangers),
        "memory": _memory(here, now),
        "sampled_at": None if capacity is None or sample is None else sample.at,
        "sample_problem": "" if sample is None else sample.problem,
        "pools": [] if capacity is None else [_pool(*item) for item in capacity.pools.items()],
    }


def _pool(name: str, pool: Pool) -> dict[str, Any]:
    return {
        "name": name,
        "unit": pool.unit,
        "total": pool.total,
        "free": pool.free,
        "gpus_total": pool.gpus_total,
        "gpus_free": pool.gpus_free,
        "waiting": pool.waiting,
        "problem": pool.problem,
        "busy_cores": None if pool.use is None else round(pool.use.cores_busy, 2),
        "real_cores": None if pool.use is None else pool.use.cores_real,
    }


def _memory(sessions: Iterable[Session], now: float) -> dict[str, int]:
    """Return what the sessions use of the memory that they have, as far as they told it lately."""
    told = [
        (session.memory_used[0], session.record.memory_mib)
        for session in sessions
        if session.memory_used is not None and session.memory_used[1] > now - FRESH
    ]
    return {
        "used_mib": sum(used for used, _ in told),
        "asked_mib": sum(asked for _, asked in told),
        "sessions": len(told),
    }


def _profile_report(
    name: str, sessions: Iterable[Session], ledger: Ledger, now: float
) -> dict[str, Any]:
    here = [session.record for session in sessions if session.record.profile == name]
    summary = ledger.summary(name, now)
    recent = ledger.recent(name, now)
    return {
        "states": dict(Counter(str(record.state) for record in here)),
        "starts": {
            "last_hour": summary.last_hour,
            "hours": list(summary.hours),
            "outcomes": {str(outcome): count for outcome, count in summary.outcomes.items()},
            "failures": dict(summary.failures),
            "recent": len(recent),
            "recent_failures": sum(start.outcome is Outcome.FAILED for start in recent),
        },
        "seconds": {"total": _spread(summary.total)}
        | {str(phase): _spread(spread) for phase, spread in summary.phases.items()},
    }


def _spread(spread: Spread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {
        "count": spread.count,
        "median": round(spread.median, 2),
        "p95": round(spread.p95, 2),
    }
