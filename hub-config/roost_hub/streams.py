"""Event streams: a connection that carried one is not used again."""

from __future__ import annotations

from typing import Any

from jupyterhub.apihandlers.users import SpawnProgressAPIHandler
from jupyterhub.utils import url_path_join

_PATHS = (r"users/([^/]+)/server/progress", r"users/([^/]+)/servers/([^/]*)/progress")


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


def take_progress(app: Any) -> None:
    """Put the handler before JupyterHub's own.

    Parameters
    ----------
    app
        The running JupyterHub.
    """
    api = url_path_join(app.hub_prefix, "api")
    handlers = [(url_path_join(api, path), ProgressHandler) for path in _PATHS]
    app.tornado_application.add_handlers(r".*", handlers)
