"""How a server's last session ended, as its owner and the hub's log are told.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.foreign_text import on_one_line

if TYPE_CHECKING:
    from roost_spawner.record import Record
    from roost_spawner.sessions import Session

_MOST = 500
"""Characters of a sentence that the log gets."""
BY_OWNER = "Its owner stopped it."


def ended(record: Record, at: float) -> dict[str, Any]:
    """Return why a session ended by itself (`at`: seconds since the epoch)."""
    return {"id": record.id, "why": record.why, "cause": record.cause, "at": at}


def failed(session: Session | None, sentence: str, at: float) -> dict[str, Any]:
    """Return why a start has failed, with or without a session."""
    record = None if session is None else session.record
    identity, cause = (record.id, record.cause) if record is not None else ("", "")
    return {"id": identity, "why": sentence, "cause": cause, "at": at, "failed": True}


def stopped(session: Session, sentence: str, at: float) -> dict[str, Any]:
    """Return who stopped a session, if that was not its owner."""
    return {"id": session.record.id, "why": sentence, "cause": "stopped", "at": at}


def is_the_schedulers(last: dict[str, Any] | None, session: Session) -> bool:
    """Whether what is kept is of this session, and the scheduler's to say better."""
    if last is None or last["id"] != session.record.id:
        return False
    return not last.get("failed") and last["cause"] != "stopped"


def stopper(name: str, *, service: bool) -> str:
    """Return who has stopped somebody's server, a sentence for its owner.

    Parameters
    ----------
    name
        Of a user, or of a service of the hub's.
    service
        Which of the two.
    """
    if not service:
        return f"The admin {name} stopped it."
    if "cull" in name:
        return f"Nobody was using it, so the hub stopped it ({name})."
    return f"The hub's service {name} stopped it."


def log_line(session: Session, last: dict[str, Any] | None) -> str:
    """Return the one line that the hub's log has of an end, without any secret.

    Parameters
    ----------
    session
        The session, whose job is gone.
    last
        What its owner is shown.
    """
    record = session.record
    user, server = session.place
    shown = last is not None and last["id"] == record.id
    if last is not None and shown:
        said, cause = last["why"], last["cause"]
    else:
        said = BY_OWNER if session.stopping else record.why
        cause = "stopped" if session.stopping else record.cause
    words = {
        "user": user,
        "server": server or "(default)",
        "session": record.mark,
        "job": f"{record.job_id or '(none)'} of {record.cluster}",
        "node": record.node or "(none)",
        "cause": cause or "(none)",
    }
    facts = ", ".join(f"{name} {value}" for name, value in words.items())
    return f"Session ended: {facts}: {on_one_line(' '.join(said.split()), _MOST)}"
