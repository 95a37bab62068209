"""Handlers of ours in the place of JupyterHub's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyterhub.utils import url_path_join

if TYPE_CHECKING:
    from collections.abc import Iterable


def put_first(app: Any, handlers: Iterable[tuple[str, type]]) -> None:
    """Put handlers before JupyterHub's own of the same paths.

    Parameters
    ----------
    app
        The running JupyterHub.
    handlers
        Paths below the hub's prefix, and what answers there.
    """
    below = [(url_path_join(app.hub_prefix, path), handler) for path, handler in handlers]
    app.tornado_application.add_handlers(r".*", below)
