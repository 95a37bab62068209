"""The testbed's HTCondor pool, spoken to from the hub's host as the hub would."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.base import JobRequest, Launcher, Resources
from roost_spawner.clusters.htcondor.channel import Channel
from roost_spawner.clusters.htcondor.pool import HTCondorPool

from tests.support.broker import BrokerTalk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testbed.layout import Site

HUB_ID = "roost-pool-test"
SCOPES = ("compute.read", "compute.create", "compute.modify", "compute.cancel")
_WORKER = ("/opt/roost/bin/python", "-I", "-m", "roost_spawner.clusters.htcondor.worker")


class PoolTalk:
    """Tokens from the testbed's IAM, and the pool's worker on the hub's host.

    Parameters
    ----------
    site
        The testbed, up.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.tokens = BrokerTalk(site)
        self.pool = HTCondorPool(
            name="pool",
            hub_id=HUB_ID,
            collector=site.hosts["cm"].fqdn,
            schedd=site.hosts["ap"].fqdn,
            audience=site.ap_audience,
            watch_token="/etc/roost/watch-htcondor.token",
        )
        inside = site.hosts["hub"]._enter(_WORKER, "roost", None)
        settings = self.pool._channel._settings
        self.pool._channel = Channel(settings, logging.getLogger(__name__), command=inside)

    def token(
        self, user: str, *, scopes: Iterable[str] = SCOPES, audience: str | None = None
    ) -> str:
        """Return an access token of a user, made out to the access point."""
        return self.tokens.token(user, scopes=scopes, audience=audience or self.site.ap_audience)

    def wish(self, code: str, *, memory_mib: int = 256, walltime_s: int = 300) -> JobRequest:
        """Return a small notebook job that runs `code`."""
        return JobRequest(
            f"{HUB_ID}/{secrets.token_urlsafe(12)}",
            Resources(cpus=1, memory_mib=memory_mib, walltime_s=walltime_s),
            Launcher("/usr/bin/python3", code),
        )

    async def call(self, name: str, **arguments: Any) -> Any:
        """Make a call of the worker that the hub never would."""
        address = await self.pool._watcher_call("look", "locate")
        return await self.pool._channel.call(name, within=30, address=address, **arguments)
