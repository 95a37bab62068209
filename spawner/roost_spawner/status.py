"""How a session stands, for people and programs outside of it.  Pure; holds no secret."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roost_spawner.record import Record
    from roost_spawner.sessions import Session

_TIMES = ("asked_at", "queued_at", "began_at", "ready_at", "over_at")


def times_of(record: Record) -> dict[str, float | None]:
    """Return when a session got where, in seconds since the epoch; None: not yet.

    For its owner it began with the click, whatever was tried before it.
    """
    times = {name: getattr(record, name) or None for name in _TIMES}
    return times | {"asked_at": record.clicked_at or times["asked_at"]}


def memory_of(session: Session) -> dict[str, Any] | None:
    """Return ``used_mib``, ``limit_mib`` and ``at``; None while its agent has not said."""
    if session.memory_used is None:
        return None
    used, at = session.memory_used
    return {"used_mib": used, "limit_mib": session.record.memory_mib or None, "at": at}


def status_of(session: Session, now: float) -> dict[str, Any]:
    """Return how a session stands, as JSON takes it.

    Parameters
    ----------
    session
        The session.
    now
        Seconds since the epoch.

    Returns
    -------
    dict
        ``state``, ``why`` and ``cause`` of it, ``cluster``, ``profile``, ``asked_profile`` (the one
        that was chosen: another may have taken its place), ``job``, ``node``, ``slot``, ``ready``,
        ``reachable`` (whether the batch system answers), ``ends_at`` (of the walltime, seconds
        since the epoch, or None) with ``seconds_left``, ``notices``: each with ``level``,
        ``message`` and ``at``, ``memory`` (see :func:`memory_of`), ``times`` (see
        :func:`times_of`), and ``tokens``: by name how each stood when its agent last asked for
        them, with ``state``, ``expires_at``, ``missing_scopes``, ``message``, ``away`` and
        ``since``.
    """
    record = session.record
    ends_at = record.ends_at or None
    return {
        "state": str(record.state) if session.reachable else "unreachable",
        "why": record.why,
        "cause": str(record.cause) or None,
        "cluster": record.cluster,
        "profile": record.profile,
        "asked_profile": record.asked_profile or record.profile,
        "job": record.job_id or None,
        "node": record.node or None,
        "slot": record.slot or None,
        "ready": record.ready,
        "over": record.over,
        "reachable": session.reachable,
        "ends_at": ends_at,
        "seconds_left": max(0, round(ends_at - now)) if ends_at else None,
        "memory": memory_of(session),
        "times": times_of(record),
        "notices": [asdict(notice) for notice in session.notices],
        "tokens": {name: standing.to_json() for name, standing in session.tokens.items()},
    }
