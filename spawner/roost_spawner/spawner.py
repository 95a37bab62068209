"""RoostSpawner: JupyterHub's contract, and nothing else.

What a session is stands in ``sessions``, what a user may choose in ``options``, what a batch system
can do in ``clusters``, and what the job may ask of the hub in ``handoff``.
"""

from __future__ import annotations

import asyncio
import html
import math
import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from batchspawner import BatchSpawnerBase
from jupyterhub.spawner import SpawnException
from jupyterhub.utils import url_path_join
from roost_shepherd.errors import ShepherdError
from sqlalchemy import inspect
from traitlets import List, Unicode, default

from roost_spawner import handoff
from roost_spawner.bootstrap import agent_source, bootstrap_code
from roost_spawner.clusters.base import JobRequest, Launcher
from roost_spawner.engine import Engine, build_cluster, shared_engine
from roost_spawner.errors import ClusterError, ClusterRefused, RoostError
from roost_spawner.form import render_form
from roost_spawner.options import REQ_TRAITS, Selection, flatten, resolve
from roost_spawner.proof import digest
from roost_spawner.sessions import Record, Session, SessionState, Wish, new_id, registry
from roost_spawner.site.units import show_duration, show_memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roost_shepherd.shepherd import AccessToken, Shepherd

    from roost_spawner.clusters.base import Cluster

_STOP_PATIENCE = 60.0
_CONFIRM_EVERY = 0.25


class StartFailed(SpawnException):  # type: ignore[misc]  # JupyterHub ships no types
    """Why there is no session, in a sentence that the page shows as it is.

    Parameters
    ----------
    sentence
        For the user.
    reason
        A label for metrics.
    status
        HTTP status.
    detail
        For the log.
    tail
        The server's last lines.
    """

    def __init__(
        self, sentence: str, *, reason: str, status: int, detail: str = "", tail: str = ""
    ) -> None:
        super().__init__(
            sentence,
            reason=reason,
            status_code=status,
            log_message=f"{sentence} [{detail}]" if detail else sentence,
        )
        # What JupyterHub's pages and progress stream show instead of the exception's name.
        self.jupyterhub_message = f"{sentence}\n{tail}" if tail else sentence
        self.jupyterhub_html_message = html.escape(sentence)
        if tail:
            self.jupyterhub_html_message += f"<pre class='text-start'>{html.escape(tail)}</pre>"


class RoostSpawner(BatchSpawnerBase):  # type: ignore[misc]  # batchspawner ships no types
    """A session of a user as a batch job, submitted with the user's own token."""

    site_file = Unicode(
        "/etc/roost/site.yaml",
        config=True,
        help="The site file: clusters and profiles. It is read again when it changes.",
    )
    # The hub's own PATH and Python mean nothing on a node.
    env_keep = List(
        Unicode(),
        ["LANG", "LC_ALL", "JUPYTERHUB_SINGLEUSER_APP"],
        config=True,
        help="Variables of the hub's environment that its sessions get.",
    )
    build_cluster = staticmethod(build_cluster)

    _selection: Selection | None = None
    _session: Session | None = None

    @default("options_form")
    def _options_form_default(self) -> Any:
        return lambda spawner: spawner.render_form()

    @default("options_from_form")
    def _options_from_form_default(self) -> Any:
        return self._from_form

    @default("apply_user_options")
    def _apply_user_options_default(self) -> Any:
        return lambda spawner, options: spawner.choose(options)

    @default("server_token_scopes")
    def _server_token_scopes_default(self) -> list[str]:
        return ["users:activity!user", "access:servers!server", f"{handoff.SCOPE}!server"]

    @default("req_homedir")
    def _req_homedir_default(self) -> str:
        return ""  # the hub has no user's home, and must not need one

    # -- what it works with --------------------------------------------------------------------

    @property
    def shepherd(self) -> Shepherd:
        """Who keeps the users' tokens."""
        return cast("Shepherd", self.authenticator.shepherd)

    @property
    def engine(self) -> Engine:
        """What all spawners of the hub share."""
        return shared_engine(Path(self.site_file), self.shepherd, self.log, self.build_cluster)

    @property
    def place(self) -> tuple[str, str]:
        """Whose server it is."""
        return self.user.name, self.name

    @property
    def session(self) -> Session | None:
        """The session that is this server, if it has one."""
        return self._session

    def cluster(self, session: Session) -> Cluster:
        """Return the cluster that has a session's job."""
        return self.engine.cluster(session.record.cluster)

    # -- choice --------------------------------------------------------------------------------

    def _groups(self) -> list[str]:
        return [group.name for group in self.user.groups]

    def _defaults(self) -> dict[str, str]:
        return {field: getattr(self, trait) for field, trait in REQ_TRAITS.items()}

    def render_form(self) -> str:
        """Return the options form: a card for each profile that the user may use."""
        try:
            site = self.engine.site
            return render_form(site, self._groups(), self._defaults(), self.user_options)
        except RoostError as error:
            raise self._failure(error, "site", 503) from None

    def _from_form(self, form: dict[str, list[str]]) -> dict[str, str]:
        options = flatten(form)
        self.choose(options)
        return options

    def choose(self, options: dict[str, Any]) -> None:
        """Validate a user's choice, wherever it came from."""
        try:
            self._selection = resolve(self.engine.site, self._groups(), options, self._defaults())
        except RoostError as error:
            raise self._failure(error, "choice", 400) from None

    def _failure(self, error: RoostError | ShepherdError, reason: str, status: int) -> StartFailed:
        detail = getattr(error, "detail", "")
        return StartFailed(error.sentence, reason=reason, status=status, detail=detail)

    # -- start ---------------------------------------------------------------------------------

    async def start(self) -> tuple[str, int]:
        """Submit the session's job and wait until its server answers."""
        self.choose(self.user_options)
        selection = cast("Selection", self._selection)
        try:
            await self.shepherd.start()
            session, token, launcher = await self._prepare(selection)
        except ShepherdError as error:
            raise self._failure(error, "token", 403) from None
        except RoostError as error:
            raise self._failure(error, "site", 503) from None
        request = JobRequest(session.record.mark, selection.resources, launcher)
        # A cancelled start must not lose the id of a job that is being submitted: stop() waits
        # for this task.
        session.submission = asyncio.create_task(self._submit(session, request, token))
        try:
            await asyncio.shield(session.submission)
        except ClusterError as error:
            status = 503 if error.retryable else 403
            raise self._failure(error, "submit", status) from None
        await session.until(lambda record: record.ready or record.over)
        if session.record.over:
            raise self._ended(session)
        return await self._address(session)

    async def _prepare(self, selection: Selection) -> tuple[Session, AccessToken, Launcher]:
        site, profile = self.engine.site, selection.profile
        cluster = self.engine.cluster(profile.cluster)
        resources = selection.resources
        grant = await self.shepherd.status(self.user.name)
        ticket = secrets.token_urlsafe(32) if cluster.needs_ticket else None
        wishes = profile.tokens if profile.tokens is not None else site.tokens
        record = Record(
            id=new_id(),
            hub_id=site.hub_id,
            cluster=profile.cluster,
            profile=selection.name,
            account=self.user.name,
            issuer=grant.issuer or "",
            subject=grant.subject or "",
            python=profile.python or site.clusters[profile.cluster].python,
            workdir=profile.workdir,
            wishes={name: Wish(wish.audience, wish.scope) for name, wish in wishes.items()},
            needs_ticket=cluster.needs_ticket,
            token_hash=digest(self.api_token),
            ticket_hash=digest(ticket) if ticket else "",
        )
        session = Session(record, self.place, self)
        self._session = session
        registry.add(session)
        self.mem_limit = f"{resources.memory_mib}M"
        self.cpu_limit = float(resources.cpus)
        gpus = f", {resources.gpus} GPU{'s' * (resources.gpus > 1)}" if resources.gpus else ""
        session.say(
            5,
            f"{profile.title}: asking {profile.cluster} for {resources.cpus} "
            f"core{'s' * (resources.cpus > 1)}, {show_memory(resources.memory_mib)}{gpus} "
            f"for {show_duration(resources.walltime_s)}.",
        )
        token = await self._cluster_token(cluster)
        _, sha256 = agent_source()
        code = bootstrap_code(self._handoff_url(), record.id, sha256)
        return session, token, Launcher(python=record.python, code=code, ticket=ticket)

    async def _cluster_token(self, cluster: Cluster) -> AccessToken:
        return await self.shepherd.access_token(
            self.user.name,
            audience=cluster.audience,
            scopes=cluster.submit_scopes,
            min_valid=30,
        )

    def _handoff_url(self) -> str:
        return cast("str", url_path_join(self.engine.site.hub_url, "hub/api", handoff.PREFIX))

    async def _submit(self, session: Session, request: JobRequest, token: AccessToken) -> None:
        session.submitted_at = math.inf
        # The mark is kept before the job that bears it exists: a hub that dies in between finds it.
        session.update(submitting=True)
        cluster = self.cluster(session)
        try:
            job_id = await cluster.submit(request, token=token.value)
        except ClusterRefused as error:
            session.end(error.sentence)
            raise
        except BaseException:
            # Nobody said no: the job may be there.  The watcher looks for its mark.
            session.submitted_at = time.monotonic()
            self.engine.watcher(session.record.cluster).follow()
            raise
        session.submitted_at = time.monotonic()
        self.job_id = job_id
        session.update(job_id=job_id)
        if session.record.state is SessionState.PREPARING:
            session.update(state=SessionState.QUEUED)
        self.log.info("Session %s of %s is job %s", session.record.mark, self.user.name, job_id)
        session.say(15, f"Job {job_id} is in the queue of {session.record.cluster}.")
        self.engine.watcher(session.record.cluster).follow()

    async def _address(self, session: Session) -> tuple[str, int]:
        # The node comes from the scheduler, never from the job: it decides where the proxy sends
        # this user's browser.
        while not session.record.node:
            view = await self.cluster(session).look(session.record.job_id)
            if view is not None:
                session.observe(view, time.monotonic())
            if session.record.over:
                raise self._ended(session)
            if not session.record.node:
                await asyncio.sleep(_CONFIRM_EVERY)
        session.update(state=SessionState.RUNNING)
        self.port = session.record.port
        return session.record.node, session.record.port

    def _ended(self, session: Session) -> StartFailed:
        why = session.record.why or "Your session has ended before it was ready."
        return StartFailed(why, reason="job", status=500, tail=session.log_tail)

    # -- what the agent asks for ---------------------------------------------------------------

    async def bundle(self, session: Session) -> dict[str, Any]:
        """Return what the agent needs to start the server."""
        if not self.api_token:
            self._new_server_token(session)
        record = session.record
        try:
            tokens = await self.tokens(session)
        except ShepherdError as error:
            # The session can do without; its agent asks again.
            self.log.warning("No access tokens for session %s yet: %s", record.mark, error)
            tokens = {}
        program = [record.python, "-m", "jupyterhub.singleuser"]
        own = list(self.cmd)
        argv = program if own == ["jupyterhub-singleuser"] else own
        ports = self.engine.site.ports
        return {
            "argv": [*argv, *self.get_args()],
            "env": {name: str(value) for name, value in self.get_env().items()},
            "ports": list(ports) if ports else None,
            "cwd": record.workdir,
            "tokens": tokens,
        }

    async def tokens(self, session: Session) -> dict[str, dict[str, Any]]:
        """Return the session's access tokens; those that cannot be had are left out."""
        answer: dict[str, dict[str, Any]] = {}
        failure: ShepherdError | None = None
        for name, wish in session.record.wishes.items():
            try:
                token = await self.shepherd.access_token(
                    session.record.account, audience=wish.audience, scopes=wish.scope.split()
                )
            except ShepherdError as error:
                self.log.warning("Token %s of session %s: %s", name, session.record.mark, error)
                failure = error
                continue
            answer[name] = {
                "value": token.value,
                "expires_at": token.expires_at,
                "refresh_in": max(token.refresh_in(time.time()), 1.0),
            }
            answer.setdefault("default", answer[name])
        if failure is not None and not answer:
            raise failure
        return answer

    def _new_server_token(self, session: Session) -> None:
        # The hub was restarted while the job waited, and it keeps hashes of its tokens only.
        note = f"Server at {self.server.base_url if self.server else self.proxy_spec}"
        place = "/".join(session.place)
        scopes = [
            f"{scope}={place}" if scope.endswith("!server") else scope
            for scope in self.server_token_scopes
        ]
        self.api_token = self.user.new_api_token(note=note, scopes=scopes)
        provider = self.user.settings.get("oauth_provider")
        if provider is not None:
            provider.add_client(
                self.oauth_client_id,
                self.api_token,
                url_path_join(self.user.url, self.name, "oauth_callback"),
                allowed_scopes=[f"access:servers!server={place}"],
                description=f"Server at {note}",
            )
        session.update(token_hash=digest(self.api_token))

    def get_env(self) -> dict[str, str]:
        """Return the server's environment; the hub's address in it is the one for the nodes."""
        url = urlsplit(self.engine.site.hub_url)
        self.hub_connect_url = f"{url.scheme}://{url.netloc}"
        return cast("dict[str, str]", super().get_env())

    # -- poll, stop, progress ------------------------------------------------------------------

    async def poll(self) -> int | None:
        """Return None while the session lives or may live; reads what the watcher noted."""
        if self._session is None:
            return 0
        return 1 if self._session.record.over else None

    async def get_url(self) -> str:
        """Return where the server is; waits for one that had not finished starting."""
        session = self._session
        if session is not None and not session.record.ready:
            await session.until(lambda record: record.ready or record.over, self.start_timeout)
        if session is None or not session.record.ready:
            return cast("str", await super().get_url())
        node, port = await self._address(session)
        scheme = "https" if self.internal_ssl else "http"
        return cast("str", url_path_join(f"{scheme}://{node}:{port}", self.server.base_url))

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001, FBT002 - JupyterHub's signature
        """Remove the job as its owner, and wait until the scheduler confirms that it is gone."""
        session = self._session
        if session is None:
            return
        session.stopping = True
        session.update(over=True)
        if not now and not await session.until(lambda record: record.ended, _STOP_PATIENCE):
            self.log.warning(
                "Job %s of session %s is not gone after %d s; it is kept in mind",
                session.record.job_id,
                session.record.mark,
                _STOP_PATIENCE,
            )

    def session_over(self, session: Session) -> None:
        """Tell the hub that the server is no more, and see its job off."""
        session.farewell = asyncio.ensure_future(self._see_off(session))
        if session is self._session and not session.stopping:
            session.notice = asyncio.ensure_future(self.poll_and_notify())

    async def _see_off(self, session: Session) -> None:
        """Remove a session's job, and forget it only once the scheduler confirmed its end."""
        if session.submission is not None:
            await asyncio.wait([session.submission])
        if not session.record.submitting:
            session.end("It was never submitted.")
        pause = 1.0
        while not session.record.ended:
            watcher = self.engine.watcher(session.record.cluster)
            watcher.follow()  # also finds a job whose id we do not know
            try:
                if session.record.job_id:
                    cluster = self.cluster(session)
                    token = await self._cluster_token(cluster)
                    await cluster.cancel(session.record.job_id, token=token.value)
                    await self._confirm(session, cluster)
            except ShepherdError as error:
                # Without the owner's token nobody may: the agent is answered 410 and ends the job.
                self.log.warning("Cannot cancel job %s: %s", session.record.job_id, error)
            except RoostError as error:
                self.log.warning("Cannot cancel job %s yet: %s", session.record.job_id, error)
            await session.until(lambda record: record.ended, pause)
            pause = min(2 * pause, 60.0)
        if session is not self._session:
            registry.discard(session)
            self.keep()

    async def _confirm(self, session: Session, cluster: Cluster) -> None:
        for _ in range(int(30 / _CONFIRM_EVERY)):
            view = await cluster.look(session.record.job_id)
            if view is None:
                session.end("The job was removed.")
            else:
                session.observe(view, time.monotonic())
            if await session.until(lambda record: record.ended, _CONFIRM_EVERY):
                return

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield each piece of news once, in plain words."""
        told = 0
        while True:
            session = self._session
            if session is None:
                await asyncio.sleep(0.1)
                continue
            for percent, message in session.news[told:]:
                yield {"progress": percent, "message": message}
            told = len(session.news)
            if session.record.ready or session.record.over:
                return
            await self._explain(session)
            if told == len(session.news):
                await session.changed(limit=5.0)

    async def _explain(self, session: Session) -> None:
        # Only once waiting has become noticeable, and at most every so often for all who look.
        waits = session.record.state is SessionState.QUEUED and session.record.job_id
        now = time.monotonic()
        if not waits or now - session.submitted_at < 4 or now < session.explain_after:
            return
        session.explain_after = now + 10
        try:
            sentence = await self.cluster(session).explain(session.record.job_id)
        except RoostError as error:
            self.log.debug("No explanation for job %s: %s", session.record.job_id, error)
            return
        if sentence and session.record.state is SessionState.QUEUED:
            session.say(20, sentence)

    # -- state ---------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return what must survive the hub, with batchspawner's own keys."""
        state = cast("dict[str, Any]", super().get_state())
        sessions = registry.at(self.place)
        if sessions:
            state["sessions"] = [session.record.to_state() for session in sessions]
        return state

    def keep(self) -> None:
        """Commit the records of this server's sessions at once."""
        database = inspect(self.orm_spawner).session
        if database is None:
            return  # a named server that was deleted meanwhile
        self.orm_spawner.state = self.get_state()
        database.commit()

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up the sessions that a hub before this one has left."""
        super().load_state(state)
        for item in state.get("sessions", []):
            record = Record.from_state(item)
            session = registry.get(record.id)
            if session is None:
                session = Session(record, self.place, self)
                registry.add(session)
                if record.over and not record.ended:
                    session.stopping = True
                    self.session_over(session)
            elif session.host is not self and not session.record.left:
                session.host = self
            if not record.left:
                self._session = session
                self.job_id = record.job_id
            if record.submitting and not record.ended:
                self.engine.watcher(record.cluster).follow()

    def clear_state(self) -> None:
        """Let go of the session; its job's id stays until the scheduler confirmed its end."""
        super().clear_state()
        session, self._session = self._session, None
        if session is None:
            return
        session.stopping = True
        if session.record.ended or not session.record.submitting:
            registry.discard(session)
        else:
            session.record = replace(session.record, left=True, over=True)
            if session.farewell is None:
                self.session_over(session)
