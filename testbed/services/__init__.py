"""What runs on the hosts, a module a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.services import condor, hub, iam, slurm

if TYPE_CHECKING:
    from testbed.layout import Site
    from testbed.services.base import Service


def all_services(site: Site) -> list[Service]:
    """Return every service, in the order in which they start."""
    return [
        *iam.services(site),
        *condor.services(site),
        *slurm.services(site),
        *hub.services(site),
    ]
