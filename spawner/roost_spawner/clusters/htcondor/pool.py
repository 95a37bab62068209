"""An HTCondor pool, as the hub sees it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.base import JobState, Judgement
from roost_spawner.clusters.htcondor import (
    capacity,
    commands,
    explain,
    negotiators,
    places,
    states,
    submit,
)
from roost_spawner.clusters.htcondor.ads import UNREADABLE
from roost_spawner.clusters.htcondor.channel import CallFailed, Channel
from roost_spawner.clusters.htcondor.explain import Explanation
from roost_spawner.clusters.htcondor.failures import connection_failed, failure
from roost_spawner.errors import (
    ClusterError,
    ClusterRefused,
    ClusterUnreachable,
    NoJob,
    NotAuthorized,
    NotReached,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from roost_spawner.clusters.base import Capacity, JobId, JobRequest, JobView, Resources

_JOB_ID = re.compile(r"(?P<cluster>\d+)\.(?P<proc>\d+)")
_HUB_ID = re.compile(r"[A-Za-z0-9._-]+")
# Lanes, so that a look at one job does not wait behind a query of all, nor behind the history or
# all slots of a large pool, and a call without an answer takes none but its like with it.
_WATCH, _LOOK, _HISTORY, _SLOTS = "watch", "look", "history", "slots"
_SLICE = 100
"""Ads that are read before others get the event loop."""
_EXPLAINED_FOR = 15.0
"""Seconds for which one look at queue and slots serves everybody who waits."""
_TOLD_KEPT = 1000
"""Jobs with odd ads of which the log has said so."""
_TRUSTED_FOR = 60.0
"""Seconds for which it is known what an access point keeps from its jobs."""
_LOOKS_AROUND = 3
"""Questions that such a look takes: of the schedd, and two of the collector."""
_NEGOTIATORS_FOR = 10.0
"""Seconds for which it is known which negotiators there are."""
# What JobAction.Remove answers for one job (condor_utils, action_result_t).
_PERMISSION_DENIED = "TotalPermissionDenied"
_DONE = ("TotalSuccess", "TotalNotFound", "TotalAlreadyDone")


class HTCondorPool:
    """A pool, through an access point for notebooks.

    Parameters
    ----------
    name
        As the site file calls it.
    hub_id
        The hub's own part of every session mark.
    collector
        Host (and port) of the central manager.
    schedd
        Name of the access point.
    audience
        What tokens for it are made out to.
    watch_token
        File with an IDTOKEN that may only READ.
    ca_file
        CA certificates for the access point, if not the system's.
    log
        The hub's log.
    timeout
        Seconds for one call.
    """

    submit_scopes: Sequence[str] = (
        # HTCondor's WRITE takes all three of a token in the WLCG profile.
        "compute.create",
        "compute.modify",
        "compute.cancel",
        "compute.read",
    )
    needs_ticket = False

    def __init__(
        self,
        *,
        name: str,
        hub_id: str,
        collector: str,
        schedd: str,
        audience: str,
        watch_token: str | Path,
        ca_file: str | Path | None = None,
        log: logging.Logger | logging.LoggerAdapter[Any] | None = None,
        timeout: float = 20.0,
    ) -> None:
        if not _HUB_ID.fullmatch(hub_id):
            raise ValueError(f"hub_id {hub_id!r} is not fit for a query")
        self.name = name
        self.audience = audience
        self._hub_id = hub_id
        self._schedd, self._collector = schedd, collector
        self._trust: tuple[float, bool] | None = None
        self._log = log or logging.getLogger(__name__)
        self._timeout = timeout
        self._address: str | None = None
        self._listing = 0
        self._views: dict[JobId, JobView] = {}
        self._told: dict[JobId, None] = {}
        self._explained: tuple[float, Awaitable[Explanation]] | None = None
        self._negotiators: tuple[float, Sequence[Mapping[str, Any]] | None] | None = None
        self._channel = Channel(
            {
                "collector": collector,
                "schedd": schedd,
                "watch_token": str(watch_token),
                "ca_file": str(ca_file) if ca_file else None,
            },
            self._log,
        )

    # -- as a user -----------------------------------------------------------------------------

    async def submit(self, request: JobRequest, *, token: str) -> JobId:
        """Submit as the user whose `token` this is, and return the job's id.

        A call that ended without an answer may have submitted the job: the watcher finds it by
        its mark.
        """
        described = submit.description(request)
        try:
            found = await self._schedd_call(
                "submit the job", "submit", token=token, description=described
            )
        except NoJob as error:
            wrong = commands.blamed(error.detail, request.extras)
            if not wrong:
                raise
            said = "; ".join(commands.wrong(name, request.extras[name]) for name in wrong)
            raise NoJob(
                f"Cluster {self.name} cannot use the submit commands of this profile: {said}. "
                "Tell the hub's admins.",
                detail=error.detail,
            ) from None
        return str(found)

    async def cancel(self, job_id: JobId, *, token: str) -> None:
        """Remove a job as its owner; a job that is gone already is no error."""
        _parts(job_id)
        answer = await self._schedd_call(
            "stop the job", "remove", token=token, job_id=job_id, reason="stopped in JupyterHub"
        )
        if answer.get(_PERMISSION_DENIED):
            raise NotAuthorized(
                f"Cluster {self.name} does not let you stop this job: it is another user's.",
                detail=f"{self.name}: {answer}",
            )
        if not any(answer.get(count) for count in _DONE):
            raise ClusterRefused(
                f"Cluster {self.name} did not stop the job.", detail=f"{self.name}: {answer}"
            )

    # -- as the watcher ------------------------------------------------------------------------

    async def watch(self) -> Mapping[JobId, JobView]:
        """Return every job of this hub, in one query, under the watcher's own identity.

        The worker sends what is new since the last answer: the hub's event loop does not pay for
        those that just go on.
        """
        answer = await self._schedd_call(
            "see its queue",
            "changes",
            lane=_WATCH,
            constraint=f'RoostHub =?= "{self._hub_id}"',
            projection=list(states.PROJECTION),
            since=self._listing,
        )
        if answer["whole"]:
            self._views = {}
        for job_id in answer["gone"]:
            self._views.pop(job_id, None)
        for number, (job_id, ad) in enumerate(answer["ads"].items(), 1):
            self._views[job_id] = self._view(ad)
            if not number % _SLICE:
                await asyncio.sleep(0)
        self._listing = answer["number"]
        return dict(self._views)

    async def look(self, job_id: JobId) -> JobView | None:
        """Return one job as it is now, not from a cache; None if the schedd has no such job."""
        ads = await self._jobs(_LOOK, _only(job_id), states.PROJECTION)
        return self._view(ads[0]) if ads else None

    async def fate(self, job_id: JobId) -> JobView | None:
        """Return how a job ended that the queue shows no more; None if the history has it not.

        The schedd writes it there when the job leaves its queue.
        """
        ads = await self._schedd_call(
            "see its history",
            "history",
            lane=_HISTORY,
            constraint=_only(job_id),
            projection=list(states.PROJECTION),
        )
        return self._view(ads[0]) if ads else None

    @property
    def hosts(self) -> Sequence[str]:
        """Return where its services are: names and addresses."""
        return [self._collector, self._schedd, self._address or ""]

    async def node(self, view: JobView) -> str | None:
        """Return the node of a job by the collector's ads of slots; None if they do not tell yet.

        What a job wrote into its own ad at most names one of the pool's slots, and counts only
        where its access point says that it keeps ``RemoteHost`` from it.
        """
        slots = await self._watcher_call(
            _LOOK,
            "slots",
            constraint=places.constraint(view),
            projection=list(places.PROJECTION),
        )
        trusted = await self._trusted()
        return places.node(view, slots, self._schedd, trusted=trusted)

    async def access_point(self, names: Sequence[str]) -> Mapping[str, Any]:
        """Return attributes of the access point's own ad, as the collector has it."""
        found: Mapping[str, Any] = await self._watcher_call(
            _LOOK, "access_point", projection=list(names)
        )
        return found

    async def reserved(self, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """Return attributes of the reserved slots, as the collector has them."""
        found: Sequence[Mapping[str, Any]] = await self._watcher_call(
            _SLOTS, "slots", constraint="RoostSlot =?= true", projection=list(names)
        )
        return found

    async def _trusted(self) -> bool:
        now = time.monotonic()
        if self._trust is None or now > self._trust[0] + _TRUSTED_FOR:
            ad = await self.access_point(["RoostProtectedJobAttrs"])
            self._trust = (now, places.protects(ad, "RemoteHost"))
        return self._trust[1]

    async def warm(self) -> None:
        """Start the worker and find the schedd, if that has not been done."""
        if self._address is None:
            self._address = await self._watcher_call(_LOOK, "locate")
        else:
            await self._watcher_call(_LOOK, "nothing")

    async def explain(
        self, job_id: JobId, *, may_ask: Callable[[int], bool] = lambda _: True
    ) -> Sequence[str]:
        """Return why a job does not start, in sentences; empty if nothing is known."""
        _parts(job_id)
        now = time.monotonic()
        old = self._explained is None or now > self._explained[0] + _EXPLAINED_FOR
        if old and may_ask(_LOOKS_AROUND):
            self._explained = (now, asyncio.ensure_future(self._look_around()))
        if self._explained is None:
            return []
        found = await asyncio.shield(self._explained[1])
        return found.of(job_id)

    async def _look_around(self) -> Explanation:
        waiting = await self._jobs(
            _LOOK, "JobStatus == 1 && IsRoostNotebook =?= true", explain.JOB_PROJECTION
        )
        slots = await self._watcher_call(
            _LOOK,
            "slots",
            constraint="RoostSlot =?= true",
            projection=list(explain.SLOT_PROJECTION),
        )
        return Explanation(waiting, slots, await self._who_negotiates())

    async def _who_negotiates(self) -> Sequence[Mapping[str, Any]] | None:
        """Return the ads of the pool's negotiators; None if the collector does not tell."""
        now = time.monotonic()
        if self._negotiators is None or now > self._negotiators[0] + _NEGOTIATORS_FOR:
            try:
                ads = await self._watcher_call(
                    _SLOTS,
                    "negotiators",
                    constraint=negotiators.CONSTRAINT,
                    projection=list(negotiators.PROJECTION),
                )
            except ClusterError as error:  # what else is known is told all the same
                self._log.info("The negotiators of %s are not known: %s", self.name, error)
                ads = None
            self._negotiators = (now, ads)
        return self._negotiators[1]

    async def capacity(self) -> Capacity:
        """Return the slots for notebooks, and the cores of the ordinary slots.

        In two questions to the collector.  When something becomes free is what the last listing of
        the hub's own jobs says; nothing, if one of them waits, which would take it.
        """
        slots = await self._watcher_call(
            _SLOTS,
            "slots",
            constraint=capacity.CONSTRAINT,
            projection=list(capacity.PROJECTION),
        )
        jobs = self._views.values()
        ends = {job.slot: job.ends_at for job in jobs if job.slot and job.ends_at}
        if any(job.state is JobState.QUEUED for job in jobs):
            ends = {}
        return capacity.capacity(slots, ends, await self._who_negotiates())

    async def judge(
        self,
        wanted: Resources,  # noqa: ARG002 - the protocol's
        extras: Mapping[str, str],
        *,
        token: str | None = None,
    ) -> Judgement:
        """Return what cannot be told: an access point tests its requirements at a submit only.

        With a user's token, the access point is asked for nothing as that user.
        """
        if token is not None:
            await self._schedd_call(
                "see its queue",
                "jobs",
                token=token,
                constraint="false",
                projection=["ClusterId"],
            )
        unchecked = ["The limits that the access point sets show at a submit only."]
        if extras:
            unchecked.append(f"What HTCondor makes of {', '.join(extras)} shows at a submit only.")
        return Judgement(unchecked=tuple(unchecked))

    async def close(self) -> None:
        """End the worker process."""
        await self._channel.close()

    # -- calls ---------------------------------------------------------------------------------

    def _view(self, ad: Mapping[str, Any]) -> JobView:
        found = states.view(ad)
        if unread := ad.get(UNREADABLE):
            self._tell(found.job_id, f"{', '.join(unread)} cannot be read, taken as absent")
        if found.state is JobState.UNKNOWN:
            self._tell(found.job_id, found.detail)
        return found

    def _tell(self, job_id: JobId, what: str) -> None:
        """Say once in the log that a job's ad is odd."""
        if job_id not in self._told:
            self._log.warning("Job %s: %s", job_id, what)
            self._told[job_id] = None
            if len(self._told) > _TOLD_KEPT:
                del self._told[next(iter(self._told))]

    async def _jobs(self, lane: str, constraint: str, projection: Sequence[str]) -> Any:
        return await self._schedd_call(
            "see its queue",
            "jobs",
            lane=lane,
            constraint=constraint,
            projection=list(projection),
        )

    async def _schedd_call(self, doing: str, name: str, **arguments: Any) -> Any:
        """Call the schedd; once more at its new address, if it was not there at the known one."""
        known = self._address is not None
        try:
            return await self._at_address(name, arguments)
        except CallFailed as failed:
            # A restarted schedd has another address.  Nothing was taken by one that could not be
            # reached; and to ask twice is harmless.
            again = connection_failed(str(failed)) or "lane" in arguments
            if failed.kind == "timeout" or not (known and again):
                raise self._converted(failed, doing) from None
        self._address = None
        try:
            return await self._at_address(name, arguments)
        except CallFailed as failed:
            self._address = None
            raise self._converted(failed, doing) from None

    async def _at_address(self, name: str, arguments: dict[str, Any]) -> Any:
        if self._address is None:
            self._address = await self._watcher_call(_LOOK, "locate")
        return await self._channel.call(
            name, within=self._timeout, address=self._address, **arguments
        )

    async def _watcher_call(self, lane: str, name: str, **arguments: Any) -> Any:
        try:
            return await self._channel.call(name, within=self._timeout, lane=lane, **arguments)
        except CallFailed as failed:
            raise self._converted(failed, "see its state") from None

    def _converted(self, failed: CallFailed, doing: str) -> Exception:
        if failed.kind == "htcondor":
            found = failure(str(failed), cluster=self.name, doing=doing)
            if type(found) is ClusterUnreachable and connection_failed(str(failed)):
                return NotReached(found.sentence, detail=found.detail)
            return found
        return ClusterUnreachable(
            f"Cluster {self.name} does not answer at the moment.",
            detail=f"{self.name}: {failed}",
        )


def _parts(job_id: JobId) -> tuple[int, int]:
    match = _JOB_ID.fullmatch(job_id)
    if match is None:
        raise ValueError(f"not a job id of HTCondor: {job_id!r}")
    return int(match["cluster"]), int(match["proc"])


def _only(job_id: JobId) -> str:
    cluster, proc = _parts(job_id)
    return f"ClusterId == {cluster} && ProcId == {proc}"
