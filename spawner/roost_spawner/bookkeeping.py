"""Each start and each end, written down once: in the ledger, and for Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from roost_shepherd import audit

from roost_spawner import metrics
from roost_spawner.starts import GivenUp, Outcome, Start, ledger, start_of

if TYPE_CHECKING:
    from roost_spawner.record import Record


def note(old: Record, new: Record, given_up: GivenUp | None) -> None:
    """Write down what a change of a session's record means.

    A session that never became ready is written down when the scheduler has confirmed its end: by
    then it has said why.

    Parameters
    ----------
    old, new
        The record before and after the change.
    given_up
        Why the hub ended the session, if it did.
    """
    _audit(old, new, given_up)
    became_ready = new.ready and not old.ready
    ended = new.ended and not old.ended
    if became_ready or (ended and not new.ready):
        _note(start_of(new, given_up, time.time()))
    elif ended:
        metrics.ENDS.labels(new.profile, new.cluster, metrics.end_cause(new, given_up)).inc()


def _audit(old: Record, new: Record, given_up: GivenUp | None) -> None:
    known = {"user": new.account, "session": new.mark, "cluster": new.cluster, "job": new.job_id}
    if new.job_id and not old.job_id:
        audit.note("start", **known, profile=new.profile)
    if new.ended and not old.ended:
        audit.note("end", **known, node=new.node, cause=str(given_up or new.cause), why=new.why)


def refused(profile: str, cluster: str, reason: GivenUp) -> None:
    """Write down a start that was refused before there was a session.

    Parameters
    ----------
    profile, cluster
        As the site file names them; empty if the user asked for something that it has not.
    reason
        Why.
    """
    _note(Start(profile, cluster, time.time(), Outcome.FAILED, str(reason)))


def _note(start: Start) -> None:
    ledger.note(start)
    metrics.count_start(start)
