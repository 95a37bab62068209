"""Control of the pool's services, as `python -m testbed stop|start` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed import lifecycle
from testbed.steps import Printer

if TYPE_CHECKING:
    from testbed.layout import Site


def stop_startd(site: Site, host: str) -> None:
    """Take an execute point out of the pool, with all that runs there."""
    lifecycle.stop_service(site, lifecycle.find_service(site, f"startd@{host}"))


def start_startd(site: Site, host: str) -> None:
    """Put it back."""
    lifecycle.start_service(site, lifecycle.find_service(site, f"startd@{host}"), Printer())
