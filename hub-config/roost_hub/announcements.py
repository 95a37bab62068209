"""What a site tells everybody who is logged in, for as long as it says."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from roost_spawner.site.announcements import Announcement


def for_pages(user: Any) -> Callable[[], list[Announcement]]:
    """Return what a template calls to learn what is announced.

    JupyterHub calls this for every page; only one that wants to know pays for it.
    """

    def ask() -> list[Announcement]:
        engine = getattr(getattr(user, "spawner", None), "engine", None)
        said = () if engine is None else engine.site.announcements
        return [one for one in said if one.shown_at(time.time())]

    return ask
