"""Services of condor; filled in by their own change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.layout import Site
    from testbed.services.base import Service


def services(site: Site) -> list[Service]:  # noqa: ARG001
    """Return the services."""
    return []
