"""What a site tells everybody who is logged in, for as long as it says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from roost_spawner.site.announcements import Announcement
    from roost_spawner.site.models import Site


def current(site: Site, now: datetime) -> list[Announcement]:
    """Return the announcements that are on at a moment, in the file's order."""
    return [
        said
        for said in site.announcements
        if (said.starts is None or said.starts <= now) and (said.ends is None or now < said.ends)
    ]


def for_pages(user: Any) -> Callable[[], list[Announcement]]:
    """Return what a template calls to learn what is announced.

    JupyterHub calls this for every page; only one that wants to know pays for it.
    """

    def ask() -> list[Announcement]:
        engine = getattr(getattr(user, "spawner", None), "engine", None)
        return [] if engine is None else current(engine.site, datetime.now(UTC))

    return ask
