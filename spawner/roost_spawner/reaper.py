"""Jobs that bear this hub's mark and that no session has: removed, as their owners.

A hub that lost its database, or died at a bad moment, leaves such jobs behind.  Jobs of other hubs
(another ``hub_id``) are not looked at, and a job that only copied a session's mark is nobody's: it
is neither adopted nor touched.  Nor is a job whose mark has this hub's name and was made by
another hub with the same ``hub_id``, or by whoever submitted it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roost_shepherd.errors import ShepherdError

from roost_spawner.clusters.base import JobState
from roost_spawner.errors import RoostError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Mapping

    from roost_shepherd.shepherd import AccessToken, Shepherd

    from roost_spawner.clusters.base import Cluster, JobView
    from roost_spawner.sessions import Registry

_LEAVING = frozenset({JobState.ENDED, JobState.EVICTING})


class Reaper:
    """Removes the orphans of one cluster.

    Parameters
    ----------
    hub_id
        The hub's own part of every session mark.
    cluster
        Returns the cluster as it is now.
    registry
        The sessions; complete once `recovered` says so.
    shepherd
        Who keeps the owners' tokens.
    recovered
        Whether every session that the database knows is in the registry.
    log
        The hub's log.
    own
        Whether this hub has made a session mark.
    """

    def __init__(
        self,
        hub_id: str,
        cluster: Callable[[], Cluster],
        registry: Registry,
        shepherd: Shepherd,
        recovered: Callable[[], bool],
        log: logging.Logger,
        own: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._hub_id = hub_id
        self._cluster = cluster
        self._registry = registry
        self._shepherd = shepherd
        self._recovered = recovered
        self._log = log
        self._own = own
        self.strangers: frozenset[str] = frozenset()
        """Ids of jobs in the last listing that have this hub's name and are not its own."""
        self._suspects: frozenset[str] = frozenset()
        self._told: set[str] = set()
        self._busy: asyncio.Task[None] | None = None

    def show(self, views: Mapping[str, JobView]) -> None:
        """Take a look at a listing; what was an orphan in the one before, too, is removed."""
        if not self._recovered():
            return
        unknown = list(self._orphans(views.values()))
        orphans = {view.job_id: view for view in unknown if self._own(view.mark or "")}
        self._meet([view for view in unknown if view.job_id not in orphans])
        sure = [view for job_id, view in orphans.items() if job_id in self._suspects]
        self._suspects = frozenset(orphans)
        self._told &= views.keys()
        if sure and (self._busy is None or self._busy.done()):
            self._busy = asyncio.create_task(self._reap(sure))

    def _orphans(self, views: Iterable[JobView]) -> Iterable[JobView]:
        sessions = {session.record.mark: session.record for session in self._registry}
        for view in views:
            mark = view.mark or ""
            if not mark.startswith(f"{self._hub_id}/") or view.state in _LEAVING:
                continue
            record = sessions.get(mark)
            if record is None:
                yield view
            elif view.job_id == record.job_id or not record.job_id:
                continue
            elif record.rightful(view):
                yield view  # submitted twice, of which one has the session
            else:
                self._tell(view, "it bears the mark of a session that is not its own")

    def _meet(self, strangers: list[JobView]) -> None:
        met = frozenset(view.job_id for view in strangers)
        if met and not self.strangers:
            view = strangers[0]
            self._log.error(
                "Job %s of %s bears the mark %s, which has this hub's hub_id and was not made by "
                "this hub. Does another hub have the hub_id %s? Each hub needs one of its own in "
                "its site file. This hub leaves such jobs alone",
                *(view.job_id, view.owner, view.mark, self._hub_id),
            )
        self.strangers = met

    async def _reap(self, orphans: list[JobView]) -> None:
        cluster = self._cluster()
        for view in orphans:
            try:
                token = await self._token(cluster, view)
                if token is None:
                    self._tell(view, "it was not submitted with a token of the account's user")
                    continue
                await cluster.cancel(view.job_id, token=token.value)
            except (ShepherdError, RoostError) as error:
                # Its agent is answered 410 and ends it from inside; the walltime bounds the rest.
                self._tell(view, str(error))
            else:
                self._log.warning(
                    "Removed job %s of %s: it bears the mark %s, which no session has",
                    view.job_id,
                    view.owner,
                    view.mark,
                )

    async def _token(self, cluster: Cluster, view: JobView) -> AccessToken | None:
        owner = view.owner or ""
        grant = await self._shepherd.status(owner)
        if view.subject is not None and view.subject != grant.subject:
            return None
        return await self._shepherd.access_token(
            owner, audience=cluster.audience, scopes=cluster.submit_scopes, min_valid=30
        )

    def _tell(self, view: JobView, why: str) -> None:
        if view.job_id not in self._told:
            self._told.add(view.job_id)
            self._log.warning("Job %s of %s is left alone: %s", view.job_id, view.owner, why)
