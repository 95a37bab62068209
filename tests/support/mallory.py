"""Another user: with an account on the nodes, a shell, the hub's address, and bad intentions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import aiohttp
from roost_spawner.handoff import PREFIX

from testbed import lifecycle
from testbed.demo.person import Refused
from testbed.steps import Printer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from testbed.demo.person import Person
    from testbed.layout import Site

# What no refusal may hold: somebody's name, a host, a job, a hash or a key, how the hub is made.
_TELLING = re.compile(
    r"alice|bob|carol|mallory|[0-9a-f]{32}|eyJ|traceback|exception|\.py\b|/opt/|/var/"
    r"|\b(ap|cm|ep[12]|ctl|gpu[12]|iam)\b|roost\.test|condor|slurm|sqlite|\bowner\b",
    re.IGNORECASE,
)
# Of the record, what a look at the scheduler changes by itself.
_PASSING = ("state", "why", "node", "slot", "ends_at", "cause", "started_at")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hub said."""

    status: int
    text: str

    @property
    def refused(self) -> bool:
        """Whether it is a refusal that tells nothing."""
        try:
            fields = set(json.loads(self.text))
        except ValueError:
            return False
        bare = fields == {"status", "message"} and not _TELLING.search(self.text)
        return 400 <= self.status < 500 and bare


class Mallory:
    """Who knows every session's id, since anybody can read a queue.

    Parameters
    ----------
    site
        The testbed, up.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.tls = ssl.create_default_context(cafile=site.folders.ca_certificate)
        url = urlsplit(site.hub_url)
        self.door = url.hostname, url.port
        self.api = f"{site.hub_url.rstrip('/')}/hub/api/{PREFIX}"
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self.tls, limit=0, resolver=aiohttp.ThreadedResolver()
            ),
            timeout=aiohttp.ClientTimeout(total=60),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def say(
        self, session_id: str, what: str, body: object, token: str | None = None
    ) -> Answer:
        """Call the handoff for a session."""
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"token {token}"
        content = body if isinstance(body, (str, bytes)) else json.dumps(body)
        url = f"{self.api}sessions/{session_id}/{what}"
        async with self._http.post(url, data=content, headers=headers) as reply:
            return Answer(reply.status, await reply.text())

    # -- what the test, not mallory, looks at --------------------------------------------------

    @property
    def _database(self) -> Path:
        # Where the machine has it: SQLite would resolve the links of /proc.
        return self.site.hosts["hub"].folder / "upper/var/lib/roost/jupyterhub.sqlite"

    def records(self, user: str, server: str = "") -> list[dict[str, Any]]:
        """Return the sessions of a server as the hub's database has them, the newest last."""
        query = (
            "SELECT spawners.state FROM spawners JOIN users ON users.id = spawners.user_id "
            "WHERE users.name = ? AND spawners.name = ?"
        )
        rows: list[tuple[str]] = []
        for _ in range(50):
            # Without locks, so that the hub never waits for us; a picture taken while it writes is
            # taken again.
            address = f"file:{self._database}?immutable=1"
            with (
                contextlib.suppress(sqlite3.DatabaseError),
                contextlib.closing(sqlite3.connect(address, uri=True)) as database,
            ):
                rows = database.execute(query, (user, server)).fetchall()
                break
            time.sleep(0.01)
        state = json.loads(rows[0][0] or "{}") if rows else {}
        return list(state.get("sessions") or [])

    def record(self, user: str, server: str = "") -> dict[str, Any]:
        """Return what there is of the newest session, without what changes by itself."""
        found = self.records(user, server)
        return {k: v for k, v in found[-1].items() if k not in _PASSING} if found else {}

    async def until(self, good: Callable[[], Any], limit: float = 60) -> Any:
        """Wait for something to become true, and return it."""
        end = time.monotonic() + limit
        while not (found := await asyncio.to_thread(good)):
            assert time.monotonic() < end, "not in time"
            await asyncio.sleep(0.2)
        return found

    async def submitted(self, user: str, server: str = "") -> dict[str, Any]:
        """Wait until a session's job is in the queue; return its record."""

        def there() -> dict[str, Any]:
            record = self.record(user, server)
            return record if record.get("job_id") and not record["over"] else {}

        found: dict[str, Any] = await self.until(there)
        return found

    def forget_job(self, user: str) -> None:
        """Make the hub's database that of one that died between submit and commit; it is down."""
        with contextlib.closing(sqlite3.connect(self._database, timeout=30)) as database:
            rows = database.execute(
                "SELECT spawners.id, spawners.state FROM spawners "
                "JOIN users ON users.id = spawners.user_id WHERE users.name = ?",
                (user,),
            ).fetchall()
            for number, text in rows:
                state = json.loads(text or "{}")
                for record in state.get("sessions") or []:
                    record["job_id"] = ""
                state["job_id"] = ""
                database.execute(
                    "UPDATE spawners SET state = ? WHERE id = ?", (json.dumps(state), number)
                )
            database.commit()

    async def stop(self, service: str) -> None:
        """Stop a service of the testbed."""
        found = lifecycle.find_service(self.site, service)
        await asyncio.to_thread(lifecycle.stop_service, self.site, found)

    async def start(self, service: str) -> None:
        """Start it again."""
        found = lifecycle.find_service(self.site, service)
        await asyncio.to_thread(lifecycle.start_service, self.site, found, Printer())

    async def kill_hub(self) -> None:
        """End the hub and all of its children at once."""
        hub = self.site.hosts["hub"]
        await asyncio.to_thread(hub.stop, "hub", 5, "KILL")

    def hub_memory(self) -> int:
        """Return the hub's resident memory, in KiB."""
        host = self.site.hosts["hub"]
        status = host.path(f"/proc/{host.service_pid('hub')}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]

    def hub_log(self) -> str:
        """Return the hub's log so far."""
        return self.site.hosts["hub"].read("/var/log/testbed/hub.log")


async def settled(someone: Person, *, ready: bool = False, limit: float = 90) -> None:
    """Wait until the hub has made up its mind about a person's servers, after a restart too."""
    servers: dict[str, Any] = {}
    end = time.monotonic() + limit
    while True:
        with contextlib.suppress(aiohttp.ClientError, ValueError, Refused):
            await someone.login()
            status, user = await someone.api("GET", f"users/{someone.name}")
            servers = user.get("servers") or {}
            decided = all(server["pending"] != "check" for server in servers.values())
            if status == 200 and decided and (not ready or servers.get("", {}).get("ready")):
                return
        assert time.monotonic() < end, f"the hub has not settled: {servers}"
        await asyncio.sleep(0.5)


async def lives(someone: Person, server: str = "") -> bool:
    """Whether a session's server answers its owner: a new kernel runs a cell."""
    return await someone.run("print(6 * 7)", server=server) == ["42"]
