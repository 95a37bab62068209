"""Event streams: a connection that carried one is not used again."""

from __future__ import annotations

from typing import Any

from jupyterhub.apihandlers.users import SpawnProgressAPIHandler


def close_at_end(handler: Any) -> None:
    """Have the connection to the proxy closed with the response.

    A stream ends when its listener goes, and often the hub ends it in the same moment: the proxy
    would give the connection to the next request before it learns that it is closed.

    Parameters
    ----------
    handler
        The handler of a request, before its headers are sent.
    """
    handler.set_header("Connection", "close")


class ProgressHandler(SpawnProgressAPIHandler):  # type: ignore[misc]  # JupyterHub ships no types
    """JupyterHub's stream of how a start goes on."""

    def set_default_headers(self) -> None:
        """Set the headers of every answer."""
        super().set_default_headers()
        close_at_end(self)


HANDLERS = [
    (r"/api/users/([^/]+)/server/progress", ProgressHandler),
    (r"/api/users/([^/]+)/servers/([^/]*)/progress", ProgressHandler),
]
