"""The way to a session's server: found once, from what the job cannot write, and kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from roost_spawner.clusters.base import Cause
from roost_spawner.errors import ClusterError
from roost_spawner.nodes import NoNode, Services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roost_spawner.sessions import Session
    from roost_spawner.spawner import RoostSpawner

_LOOK_EVERY = 0.25
_services = Services()


def service_hosts(spawner: RoostSpawner) -> Iterator[str]:
    """Yield names and URLs of the hub, the proxy, the identity provider and the clusters."""
    engine = spawner.engine
    yield engine.site.hub_url
    yield str(getattr(spawner.authenticator, "issuer", ""))
    proxy = spawner.user.settings.get("proxy")
    for part in (spawner.hub, proxy):
        for name in ("url", "api_url", "public_url"):
            yield str(getattr(part, name, None) or "")
    for name in engine.site.clusters:
        yield from engine.cluster(name).hosts


async def locate(spawner: RoostSpawner, session: Session) -> None:
    """Wait until it is sure which node the job runs on, or the session is over.

    Never by the job's own word: the node decides where the proxy sends this user's browser, and
    which name a certificate is for.  A session at a place that is no node's is over.
    """
    name = session.record.cluster
    while not session.record.placed and not session.record.over:
        try:
            view = await spawner.engine.watcher(name).view(session.record.job_id)
            node = None
            if view is not None and session.record.rightful(view):
                session.observe(view, time.monotonic())
                node = await spawner.engine.cluster(name).node(view)
            if node:
                await _services.check(node, service_hosts(spawner), spawner.shared_nodes)
                session.update(node=node, placed=True)
        except NoNode as error:
            spawner.log.warning(
                "Session %s of %s, job %s: %s",
                session.record.mark,
                session.record.account,
                session.record.job_id,
                error,
            )
            session.update(over=True, why=error.sentence, cause=str(Cause.FAILED))
        except ClusterError as error:
            if session.say(0, error.sentence):
                spawner.log.warning("Session %s: %s", session.record.mark, error)
        await session.until(lambda record: record.placed or record.over, _LOOK_EVERY)
