"""RoostSpawner: JupyterHub's contract, and nothing else.

What a session is stands in ``sessions``, what a user may choose in ``options``, what a batch system
can do in ``clusters``, and what the job may ask of the hub in ``handoff``.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from batchspawner import BatchSpawnerBase
from jupyterhub.utils import fmt_ip_url, url_path_join
from sqlalchemy import inspect
from traitlets import Dict, List, Unicode, default

from roost_spawner import bookkeeping, choice, handoff, last_end, launch, route, sharing
from roost_spawner.attempts import Attempts
from roost_spawner.bundle import make_bundle
from roost_spawner.delivery import fresh_tokens, withheld
from roost_spawner.engine import Engine, build_cluster, shared_engine
from roost_spawner.errors import ChoiceRefused, ClusterUnreachable, RoostError
from roost_spawner.farewell import see_off
from roost_spawner.options import REQ_TRAITS, SHARE_TOKENS, flatten, resolve
from roost_spawner.record import Record, SessionState
from roost_spawner.sessions import Session, registry
from roost_spawner.site.units import show_duration
from roost_spawner.start_failed import StartFailed
from roost_spawner.starts import GivenUp
from roost_spawner.status import times_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from roost_shepherd.errors import ShepherdError
    from roost_shepherd.shepherd import Shepherd

    from roost_spawner.clusters.base import JobView
    from roost_spawner.delivery import Handout

_STOP_PATIENCE, _SEARCH_PATIENCE = 60.0, 5.0


def _ready_only_if_it_is(spawner: RoostSpawner, event: dict[str, Any]) -> dict[str, Any]:
    """Return the last event of a pending page.

    JupyterHub takes a start for ready that is given up because the hub ends: its page would go to a
    server that is not up, and to the proxy's error page.
    """
    session = spawner.session
    waits = session is not None and not session.record.ready
    return {"progress": 0, "message": ""} if waits else event


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
    agent_folder = Unicode(
        "agents",
        config=True,
        help="Where the hub keeps every version of the agent that a job in the queue may have "
        "pinned. Must survive upgrades of the hub, like its database.",
    )
    session_files = Dict(
        Unicode(),
        config=True,
        help="Files of every session, by path below the agent's own directory: text. "
        "`@ROOST_DIR@` in a variable or argument is that directory.",
    )
    session_environment = Dict(
        Unicode(),
        config=True,
        help="Variables of every session's server. One named *_PATH goes before what is there.",
    )
    shared_nodes = List(
        Unicode(),
        config=True,
        help="Hosts that run sessions although a service is there as well, such as an execute "
        "point on the access point.  No session is sent to another host of a service.",
    )
    server_skips = List(
        Unicode(),
        ["rfc3987_syntax"],
        config=True,
        help="Optional modules that the single-user server's own process does without, since their "
        "import costs more than they give: rfc3987_syntax builds a parser for half a second, with "
        "which jsonschema would check the formats iri and iri-reference. Kernels have them.",
    )
    build_cluster = staticmethod(build_cluster)

    _session: Session | None = None
    _waiting: Session | None = None
    """A session whose job waits in the queue since before the hub was restarted."""
    _last: dict[str, Any] | None = None
    stopped_by = ""
    """Who has asked for its end, if that is not its owner: a sentence."""

    @default("options_form")
    def _options_form_default(self) -> Any:
        return lambda spawner: spawner.render_form()

    @default("options_from_form")
    def _options_from_form_default(self) -> Any:
        return self._from_form

    @default("apply_user_options")
    def _apply_user_options_default(self) -> Any:
        return lambda spawner, options: spawner.take_choice(options)

    @default("progress_ready_hook")
    def _progress_ready_hook_default(self) -> Any:
        return _ready_only_if_it_is

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

    @property
    def waiting(self) -> Session | None:
        """A session whose job has waited since before the hub was restarted."""
        return self._waiting

    @property
    def last_end(self) -> dict[str, Any] | None:
        """How the session before ended that its owner did not stop (``last_end``)."""
        return self._last

    async def view(self, session: Session) -> JobView | None:
        """Return a session's job as it is from now on; None if the scheduler has it not."""
        return await self.engine.watcher(session.record.cluster).view(session.record.job_id)

    def follow(self, session: Session) -> None:
        """Have the scheduler asked about a session soon."""
        self.engine.watcher(session.record.cluster).follow()

    # -- choice --------------------------------------------------------------------------------

    def groups(self) -> list[str]:
        """Return the names of the owner's groups."""
        return [group.name for group in self.user.groups]

    def defaults(self) -> dict[str, str]:
        """Return the ``req_*`` values by field."""
        return {field: getattr(self, trait) for field, trait in REQ_TRAITS.items()}

    async def render_form(self) -> str:
        """Return the options form: a card for each profile that the user may use."""
        try:
            return await choice.show_form(self)
        except RoostError as error:
            raise self.failure(error, "site", 503) from None

    def _from_form(self, form: dict[str, list[str]]) -> dict[str, str]:
        options = flatten(form)
        try:
            self.choose(options)
        except StartFailed:
            choice.refused(self, options)
            raise
        return options

    def options_from_query(self, query_data: dict[str, list[str]]) -> Any:
        """Return what a link chooses; consent to share tokens is given on the form only."""
        if flatten(query_data).get(SHARE_TOKENS) == "yes":
            error = ChoiceRefused("A link cannot share your access tokens: choose so on this page.")
            raise self.failure(error, "choice", 400)
        return super().options_from_query(query_data)

    def take_choice(self, options: dict[str, Any]) -> None:
        """Validate a choice that is about to be started, and keep it without its consent."""
        self.choose(options)
        kept = {name: value for name, value in options.items() if name != SHARE_TOKENS}
        if self.orm_spawner.user_options != kept:
            self.orm_spawner.user_options = kept

    def choose(self, options: dict[str, Any]) -> None:
        """Validate a user's choice, wherever it came from."""
        try:
            resolve(self.engine.site, self.groups(), options, self.defaults())
        except ChoiceRefused as error:
            self.refused(GivenUp.CHOICE, str(options.get("profile", "")))
            raise self.failure(error, "choice", 400) from None
        except RoostError as error:
            raise self.failure(error, "choice", 400) from None

    def refused(self, reason: GivenUp, profile: str) -> None:
        """Count a start that never became a session; under its profile, if there is such a one."""
        found = self.engine.site.profiles.get(profile)
        bookkeeping.refused(profile if found else "", found.cluster if found else "", reason)

    def failure(
        self,
        error: RoostError | ShepherdError,
        reason: str,
        status: int,
        session: Session | None = None,
    ) -> StartFailed:
        """Return why a start has failed, as the user and the log are told."""
        detail = getattr(error, "detail", "")
        record = session.record if session is not None else None
        return StartFailed(
            error.sentence, reason=reason, status=status, detail=detail, record=record
        )

    # -- start ---------------------------------------------------------------------------------

    async def start(self) -> tuple[str, int]:
        """Submit the session's job, or go on with one that waits, until its server answers."""
        # Before JupyterHub gives up, which does not know how the session stands.
        limit = max(self.start_timeout - 1, 0.9 * self.start_timeout)
        try:
            async with asyncio.timeout(limit) as timer:
                return await self._address(await Attempts(self).come_up())
        except TimeoutError:
            if timer.expired():
                raise self._not_started(self._too_late()) from None
            raise
        except StartFailed as failed:
            self._not_started(failed)
            raise

    def take(self, session: Session) -> None:
        """Have a session be the server from now on."""
        self._session = session
        self.mem_limit = f"{session.record.memory_mib}M"
        self.cpu_limit = float(session.record.cpus)

    def take_waiting(self) -> Session | None:
        """Take up the session that waits since before the hub was restarted, if there is one."""
        session, self._waiting = self._waiting, None
        if session is not None:
            self.take(session)
        return session

    def forget_end(self) -> None:
        """Say no more how the session before ended."""
        self._last, self.stopped_by = None, ""

    async def _address(self, session: Session) -> tuple[str, int]:
        await route.locate(self, session)
        if session.record.over:
            raise self._ended(session)
        session.update(state=SessionState.RUNNING)
        self.port = session.record.port
        return session.record.node, session.record.port

    def _not_started(self, failed: StartFailed) -> StartFailed:
        """Keep in mind why a start has failed, unless it was stopped."""
        if self._session is None or not self._session.stopping:
            self._last = last_end.failed(self._session, failed.sentence, time.time())
        return failed

    def _too_late(self) -> StartFailed:
        """Return why a start is given up that is not ready in time: how it stands by then."""
        session, words = self._session, show_duration(self.start_timeout)
        sentence = f"Your session was not ready within {words}, and is given up."
        if session is None:
            self.refused(GivenUp.TIMEOUT, str(self.user_options.get("profile", "")))
            return StartFailed(sentence, reason="timeout", status=503)
        session.given_up = session.given_up or GivenUp.TIMEOUT
        if session.news:
            sentence += f" How it stood: {session.news[-1][1]}"
        return StartFailed(
            sentence, reason="timeout", status=503, tail=session.log_tail, record=session.record
        )

    def _ended(self, session: Session) -> StartFailed:
        why = session.record.why or "Your session has ended before it was ready."
        return StartFailed(
            why, reason="job", status=500, tail=session.log_tail, record=session.record
        )

    # -- what the agent asks for ---------------------------------------------------------------

    async def bundle(self, session: Session) -> dict[str, Any]:
        """Return what the agent needs to start the server.

        Raises
        ------
        ClusterUnreachable
            If it cannot be made yet.
        """
        if session is not self._session:
            raise ClusterUnreachable("It is not settled yet whether this session is the server.")
        return await make_bundle(self, session)

    async def tokens(self, session: Session) -> Handout:
        """Return the session's access tokens; none while others could read them unallowed."""
        if session.record.share_tokens:
            return await fresh_tokens(self.shepherd, session.record, self.log)
        if sharing.is_shared(self.orm_spawner):
            return withheld(session.record, sharing.LOOK)
        handout = await fresh_tokens(self.shepherd, session.record, self.log)
        if sharing.may_be_shared(self.user):
            handout = replace(handout, again_in=min(handout.again_in or sharing.LOOK, sharing.LOOK))
        return handout

    async def create_certs(self) -> dict[str, str]:
        """Make none yet: the bundle has one for the node, once the job is there (``tls``)."""
        return {}

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
        if session is None or not session.record.ready or session.record.over:
            # JupyterHub asks when it is restarted, and stops a server that does not answer in this
            # time: this one never will.
            self.http_timeout = 1
            return cast("str", await super().get_url())
        node, port = await self._address(session)
        # What does not answer may come back: the batch system, not the network, says what is dead.
        await launch.reachable(session)
        scheme = "https" if session.record.tls else "http"
        # JupyterHub takes up host and port of this address after a restart, but not its scheme.
        self.server.proto = scheme
        address = f"{scheme}://{fmt_ip_url(node)}:{port}"
        return cast("str", url_path_join(address, self.server.base_url))

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001, FBT002 - JupyterHub's signature
        """Remove the job as its owner, and wait until the scheduler confirms that it is gone."""
        session = self._session
        if session is None:
            return
        if self.stopped_by and not session.record.over:
            self._last = last_end.stopped(session, self.stopped_by, time.time())
        session.stopping = True
        session.wake()
        if not session.record.over:
            session.given_up = session.given_up or GivenUp.STOPPED
        session.update(over=True)
        if now:
            return
        # Nobody waits for a cluster that does not answer, nor for a job that may not exist.
        patience = _STOP_PATIENCE if session.record.job_id else _SEARCH_PATIENCE
        await session.until(lambda record: record.ended or not session.reachable, patience)
        if not session.record.ended:
            self.log.warning(
                "Job %s of session %s is not known to be gone; it is kept in mind until it is",
                session.record.job_id or "(id unknown)",
                session.record.mark,
            )

    def session_over(self, session: Session) -> None:
        """Tell the hub that the server is no more, and see its job off."""
        session.farewell = asyncio.ensure_future(self._see_off(session))
        if session is not self._session or session.stopping or session.record.replaceable:
            return
        if session.record.ready:  # otherwise the start itself tells
            self._remember(session)
        session.notice = asyncio.ensure_future(self.poll_and_notify())

    def _remember(self, session: Session) -> None:
        self._last = last_end.ended(session.record, time.time())

    async def _see_off(self, session: Session) -> None:
        await see_off(self.engine, session, self.log)
        # JupyterHub lets go of a spawner whose server has stopped, and may have made another.
        heir: RoostSpawner = self.user.spawners.get(self.name, self)
        if last_end.is_the_schedulers(heir._last, session):
            heir._remember(session)  # by now the scheduler has said it better
        self.log.info("%s", last_end.log_line(session, heir._last))
        if session is not self._session:
            registry.discard(session)
            heir.keep()

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield each piece of news once, in plain words, with the times that are known by then."""
        told = 0
        while True:
            session = self._session
            if session is None:
                await asyncio.sleep(0.1)
                continue
            for percent, message in session.news[told:]:
                yield {
                    "progress": percent,
                    "message": message,
                    "times": times_of(session.record),
                    "usual": choice.usual(self, session.record, time.time()),
                    "now": time.time(),
                }
                told += 1
            if session is not self._session:
                continue  # another has taken its place, and tells its news too
            record = session.record
            if record.ready or (record.over and not record.replaceable):
                return
            await launch.explain(self.engine, session, self.log)
            if told == len(session.news) and session is self._session:
                await session.changed(limit=5.0)

    # -- state ---------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return what must survive the hub, with batchspawner's own keys."""
        if self._session is not None:
            self.job_id = self._session.record.job_id
        state = cast("dict[str, Any]", super().get_state())
        sessions = registry.at(self.place)
        if sessions:
            state["sessions"] = [session.record.to_state() for session in sessions]
        if self._last:
            state["last_end"] = self._last
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
        self._last = state.get("last_end")
        for item in state.get("sessions", []):
            record = Record.from_state(item).taken_up()
            session = registry.get(record.id)
            if session is None:
                session = Session(record, self.place, self)
                registry.add(session)
                if not (record.key_hash or record.over or record.ended):
                    self._wait_for(session)
                    continue
                if record.over and not record.ended:
                    session.stopping = True
                    self.session_over(session)
            elif session.host is not self and not session.record.left:
                session.host = self
            if not record.left:
                self._session = session
            if record.submitting and not record.ended:
                self.engine.watcher(record.cluster).follow()

    def _wait_for(self, session: Session) -> None:
        """Keep a session whose job has not begun, for a start that goes on with it.

        To JupyterHub it is a server that does not run: it could neither be stopped nor show its
        progress while it is checked, as JupyterHub does with those that seem to run.
        """
        self._waiting = session
        self.orm_spawner.server = None
        if session.record.submitting:
            self.engine.watcher(session.record.cluster).follow()

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
