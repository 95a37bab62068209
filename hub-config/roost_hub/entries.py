"""Who enters whose server, for the audit log: what JupyterHub lets a browser into."""

from __future__ import annotations

from typing import Any

from jupyterhub import orm
from jupyterhub.log import log_request
from roost_shepherd import audit

_ASKS = "api/oauth2/authorize"


def log_function(handler: Any) -> None:
    """Write JupyterHub's line about a request, and ours if somebody enters another's server.

    Parameters
    ----------
    handler
        Of the request that was answered.
    """
    log_request(handler)
    try:
        note_entry(handler)
    except Exception:
        handler.log.exception("An entry could not be written into the audit log")


def note_entry(handler: Any) -> None:
    """Write our line, if somebody has entered another's server."""
    if not handler.request.path.endswith(_ASKS) or handler.get_status() != 302:
        return
    client = handler.get_argument("client_id", "")
    found = handler.db.query(orm.OAuthClient).filter_by(identifier=client).first()
    server = None if found is None else found.spawner
    visitor = handler.current_user
    if server is None or visitor is None or visitor.name == server.user.name:
        return
    audit.note(
        "enter",
        user=visitor.name,
        owner=server.user.name,
        server=server.name,
        admin=str(bool(visitor.admin)).lower(),
        address=handler.request.remote_ip,
    )
