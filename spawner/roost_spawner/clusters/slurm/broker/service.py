"""What the broker does, apart from HTTP: who may do what to which job.

Rules: a session's job is submitted and cancelled by its owner only; a watcher only reads, and only
the jobs of its own hubs; no job that a broker did not submit is shown or touched.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from roost_shepherd.pace import Pace

from roost_spawner.clusters.slurm.broker import capacity, rules, tokens, views, wishes
from roost_spawner.clusters.slurm.broker.cancels import Cancels
from roost_spawner.clusters.slurm.broker.errors import (
    BadRequest,
    BrokerError,
    Forbidden,
    JobNotFound,
    NoSuchAccount,
    NoSuchNode,
    NotReached,
    TooOften,
)
from roost_spawner.clusters.slurm.broker.listing import Listing, News
from roost_spawner.clusters.slurm.broker.marks import Marks
from roost_spawner.clusters.slurm.broker.quota import Submits
from roost_spawner.clusters.slurm.broker.slurmrest import check_job_id

if TYPE_CHECKING:
    from roost_shepherd.keys import TokenVerifier

    from roost_spawner.clusters.slurm.broker.accounts import Account, Accounts
    from roost_spawner.clusters.slurm.broker.config import Config
    from roost_spawner.clusters.slurm.broker.quota import Begun
    from roost_spawner.clusters.slurm.broker.slurmrest import SlurmRest
    from roost_spawner.clusters.slurm.broker.tokens import Caller
    from roost_spawner.clusters.slurm.broker.wishes import Wish

_COUNT_AGE = 15.0
"""Seconds: how old a listing may be for counting an account's sessions, so that a submit costs no
query.  What came after it is counted by ourselves."""
_CAPACITY_AGE = 15.0
"""Likewise for what of a capacity changes slowly: partitions, the queue, when jobs end."""

_AT_ONCE = 40
"""Submits that an account may make at once; then one every :data:`_EVERY` seconds."""
_EVERY = 2.0

log = logging.getLogger("roost.broker")
audit = logging.getLogger("roost.broker.audit")


class Broker:
    """The broker's acts, each for one verified caller.

    Parameters
    ----------
    config
        Limits, watchers and names.
    slurm
        Where the acts go.
    accounts
        Who may act as which account.
    verifier
        For the tokens of the one issuer that is trusted.
    """

    def __init__(
        self, config: Config, slurm: SlurmRest, accounts: Accounts, verifier: TokenVerifier
    ) -> None:
        self._config = config
        self._slurm = slurm
        self._accounts = accounts
        self._verifier = verifier
        self._listing = Listing(lambda: slurm.jobs(config.slurm.reader))
        self._nodes = Listing(lambda: slurm.nodes(config.slurm.reader))
        self._partitions = Listing(lambda: slurm.partitions(config.slurm.reader))
        self._news = News()
        self._cancels = Cancels()
        self._marks = Marks()
        self._submits = Submits()
        self._pace = Pace(_AT_ONCE, _EVERY)

    async def identify(self, authorization: str | None) -> Caller:
        """Return whose token is shown in an ``Authorization`` header."""
        token = tokens.bearer(authorization)
        return await tokens.identify(self._verifier, self._config.audience, token)

    async def submit(self, caller: Caller, body: object) -> str:
        """Submit a session's job as the caller's own account, and return the job id."""
        caller.require(tokens.SUBMIT)
        account = await self._owner(caller, "submit")
        try:
            if seconds := self._pace.wait(account.name):
                raise TooOften(seconds)
            wish = wishes.read(body, self._config.limits)
            job_id = await self._submit(account, wish)
        except NoSuchNode as error:
            _audit(caller, "submit", account.name, "-", error)
            raise NoSuchNode(
                f"No node of partition {wish.partition} has what is asked for; "
                f"{await self._largest(wish.partition)}.",
                detail=error.detail,
            ) from None
        except NoSuchAccount as error:
            _audit(caller, "submit", account.name, "-", error)
            if wish.account is not None:
                raise
            raise NoSuchAccount(
                "Slurm has no account to charge your jobs to; ask this cluster's admins for one.",
                detail=error.detail,
            ) from None
        except BrokerError as error:
            _audit(caller, "submit", account.name, "-", error)
            raise
        self._listing.forget()
        _audit(caller, "submit", account.name, job_id)
        return job_id

    async def _submit(self, account: Account, wish: Wish) -> str:
        with self._submits.begin(account.name, BadRequest, Forbidden, NotReached) as begun:
            await self._check_number(account, begun)
            job_id = await self._slurm.submit(account.name, wishes.submission(wish, account))
        self._marks.note(int(job_id), account.uid, wish.mark)
        return job_id

    async def cancel(self, caller: Caller, job_id: str) -> None:
        """Cancel a job of the caller's own; one that has ended already is no error."""
        caller.require(tokens.CANCEL)
        job_id = check_job_id(job_id)
        account = await self._owner(caller, "cancel")
        try:
            raw = await self._slurm.job(account.name, job_id)
            if self._marks.of(raw) is None:
                raise JobNotFound(f"Job {job_id} is no notebook.")
            # Before, not after: see SlurmRest.cancel.
            if raw.get("user_id") != account.uid:
                raise Forbidden(f"Job {job_id} is not yours.")
            if not views.finished(raw):
                self._cancels.note(job_id)
                await self._slurm.cancel(account.name, job_id)
        except BrokerError as error:
            _audit(caller, "cancel", account.name, job_id, error)
            raise
        self._listing.forget()
        _audit(caller, "cancel", account.name, job_id)

    async def _check_number(self, account: Account, begun: Begun) -> None:
        limit = self._config.limits.sessions
        if not limit:
            return
        number = await self._count(account, begun, _COUNT_AGE)
        if number >= limit:
            number = await self._count(account, begun, 0.0)  # one may have ended meanwhile
        if number >= limit:
            plural = "" if number == 1 else "s"
            raise Forbidden(
                f"You have {number} notebook{plural} on this cluster; {limit} "
                f"{'is' if limit == 1 else 'are'} allowed ([limits] of the broker). "
                "Stop one first."
            )

    async def _count(self, account: Account, begun: Begun, age: float) -> int:
        """Count an account's jobs in a listing of this age, and its submits since."""
        try:
            asked_at, raws = await self._listing.recent(age)
        except BrokerError as error:
            # What another's job has in its texts keeps nobody from a notebook.
            log.warning("sessions are counted without Slurm's listing: %s", error)
            asked_at, raws = float("-inf"), []
        mine = [raw for raw in raws if raw.get("user_id") == account.uid]
        alive = [raw for raw in mine if self._marks.of(raw) and not views.finished(raw)]
        return len(alive) + self._submits.before(account.name, begun, asked_at)

    async def _largest(self, partition: str) -> str:
        nodes = await self._nodes.rows()
        pools = capacity.capacity(nodes, partitions=partition.split(",")).values()
        cpus, memory, gpus = (
            max(pool[f"largest_{name}"] for pool in pools)
            for name in ("cpus", "memory_mib", "gpus")
        )
        return f"the largest has {cpus} CPUs, {memory} MiB and {gpus} GPUs"

    async def news(self, caller: Caller, hub: str, known: str) -> dict[str, Any]:
        """Return what is new of a hub's jobs since an answer that it has (see ``listing``)."""
        found = await self.jobs(caller, hub)
        if self._config.watcher(caller.issuer, caller.subject) is None:
            return {"jobs": found, "whole": True}
        return self._news.since(hub, known, found)

    async def jobs(self, caller: Caller, hub: str) -> list[dict[str, Any]]:
        """Return a hub's jobs: all of them to its watcher, their own ones to others."""
        caller.require(tokens.READ)
        hub = wishes.hub_id(hub)
        watcher = self._config.watcher(caller.issuer, caller.subject)
        if watcher is None:
            account = await self._owner(caller, "list")
            # Out of the listing for all: nobody's looking costs slurmctld a query of its own.
            raws = await self._listing.rows()
            raws = [raw for raw in raws if raw.get("user_id") == account.uid]
        elif hub in watcher.hubs:
            raws = await self._listing.rows()
        else:
            raise Forbidden(f"This identity may not watch the jobs of the hub {hub}.")
        wanted = f"{hub}/"
        return [self._view(raw) for raw in raws if (self._marks.of(raw) or "").startswith(wanted)]

    async def job(self, caller: Caller, job_id: str) -> dict[str, Any]:
        """Return one job, under the same rules as :meth:`jobs`."""
        caller.require(tokens.READ)
        job_id = check_job_id(job_id)
        watcher = self._config.watcher(caller.issuer, caller.subject)
        if watcher is None:
            account = await self._owner(caller, "look")
            raw = await self._slurm.job(account.name, job_id)
            allowed = raw.get("user_id") == account.uid
        else:
            raw = await self._slurm.job(self._config.slurm.reader, job_id)
            allowed = (self._marks.of(raw) or "").partition("/")[0] in watcher.hubs
        mark = self._marks.of(raw)
        if mark is None:
            raise JobNotFound(f"Job {job_id} is no notebook.")
        if not allowed:
            raise Forbidden(f"Job {job_id} is not yours.")
        shown = self._view(raw)
        if "PENDING" in shown["state"]:
            shown["ahead"] = views.ahead(raw, await self._listing.rows())
        return shown

    async def capacity(self, caller: Caller) -> dict[str, dict[str, Any]]:
        """Return what the partitions that are handed out have, and what of it is free."""
        caller.require(tokens.READ)
        if self._config.watcher(caller.issuer, caller.subject) is None:
            await self._owner(caller, "capacity")
        nodes = await self._nodes.rows()
        _, facts = await self._partitions.recent(_CAPACITY_AGE)
        _, jobs = await self._listing.recent(_CAPACITY_AGE)
        return capacity.capacity(
            nodes, partitions=self._config.limits.partitions, facts=facts, jobs=jobs
        )

    async def check(self, caller: Caller, body: object) -> dict[str, list[str]]:
        """Say what would become of a submit, apart from what is free; nothing is submitted.

        Parameters
        ----------
        caller
            A watcher, or somebody who may submit.
        body
            As for a submit, without script and mark.

        Returns
        -------
        dict
            Sentences: ``problems``, with which it would be refused, and what is ``unchecked``.
        """
        if self._config.watcher(caller.issuer, caller.subject) is None:
            caller.require(tokens.SUBMIT)
            await self._owner(caller, "check")
        else:
            caller.require(tokens.READ)
        try:
            wish = wishes.read(wishes.of_nobody(body), self._config.limits)
        except BadRequest as error:
            return {"problems": [error.sentence], "unchecked": []}
        _, facts = await self._partitions.recent(_CAPACITY_AGE)
        known = {fact.get("name"): fact for fact in facts}
        reader = self._config.slurm.reader
        reservations = await self._slurm.reservations(reader) if wish.reservation else []
        nodes = await self._nodes.rows()
        found = [
            list(
                rules.problems(
                    replace(wish, partition=name),
                    fact=known.get(name, {}),
                    nodes=nodes,
                    reservations=reservations,
                )
            )
            for name in wish.partition.split(",")
        ]
        # Slurm starts it in the first of several partitions that takes it.
        return {"problems": min(found, key=len), "unchecked": list(rules.unchecked(wish))}

    async def _owner(self, caller: Caller, action: str) -> Account:
        """Return the account that the caller acts as; a watcher acts as nobody."""
        try:
            if self._config.watcher(caller.issuer, caller.subject) is not None:
                raise Forbidden("This identity may only read.")
            return await self._accounts.of(caller.issuer, caller.subject)
        except BrokerError as error:
            _audit(caller, action, "-", "-", error)
            raise

    def _view(self, raw: dict[str, Any]) -> dict[str, Any]:
        return views.job(
            raw,
            mark=self._marks.of(raw) or "",
            node_domain=self._config.slurm.node_domain,
            by_owner=self._cancels.by_owner(raw),
        )


def _audit(
    caller: Caller, action: str, account: str, job_id: str, error: BrokerError | None = None
) -> None:
    """Say in one line who did what as whom to which job, and how it ended."""
    audit.log(
        logging.WARNING if error else logging.INFO,
        "account=%s subject=%r action=%s job=%s outcome=%s",
        account,
        caller.subject[:200],
        action,
        job_id,
        "done" if error is None else f"{error.status} {error.sentence}",
    )
