"""One server of one person, seen from the outside: what a fault does to it is read here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp

from testbed.demo.person import Person, Refused
from tests.support.ground import PROFILES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.ground import Ground

    Notebook = Callable[[str], Awaitable[str]]

_AWAY = (aiohttp.ClientError, TimeoutError, OSError, Refused, ValueError)
PATIENCE = 150.0
"""Seconds after which a condition is taken for never to come; no test waits for it to pass."""


async def until(condition: Callable[[], Awaitable[Any]], what: str, limit: float = PATIENCE) -> Any:
    """Wait until a condition holds, and return what it gave."""
    end = time.monotonic() + limit
    while True:
        if found := await condition():
            return found
        assert time.monotonic() < end, f"not within {limit:.0f} s: {what}"
        await asyncio.sleep(0.3)


@dataclass
class Guest:
    """A server of a person's, and what its user was told.

    Attributes
    ----------
    said
        What the pending page has shown, in order, each once.
    seen
        What the status API has shown: state and sentence.
    """

    ground: Ground
    person: Person
    server: str
    kind: str
    said: list[str] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    job: str = ""
    kernel: str = ""
    refusal: str = ""
    """What the click itself was answered, if it was refused."""
    _page: asyncio.Task[None] | None = None
    _clicks: list[asyncio.Task[None]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.person.name}/{self.server} ({self.kind}, job {self.job or '?'})"

    # -- the hub's word ------------------------------------------------------------------------

    async def model(self) -> dict[str, Any] | None:
        """Return the hub's model of the server: None if the hub is away, empty if it has none."""
        try:
            status, user = await self.person.api("GET", f"users/{self.person.name}")
        except _AWAY:
            return None
        if status != 200:
            return None
        return user["servers"].get(self.server) or {}

    async def status(self) -> dict[str, Any]:
        """Return what the status API says; empty while it says nothing."""
        named = f"/servers/{self.server}" if self.server else ""
        path = f"roost/v1/servers/{self.person.name}{named}"
        with contextlib.suppress(*_AWAY):
            code, answer = await self.person.api("GET", path)
            if code == 200 and isinstance(answer, dict):
                now = (str(answer.get("state")), str(answer.get("why") or ""))
                if now not in self.seen:
                    self.seen.append(now)
                return answer
        return {}

    # -- life ----------------------------------------------------------------------------------

    async def click(self, **options: str) -> Guest:
        """Click *start*; the pending page stays open from now on."""
        try:
            await self.person.click({"profile": PROFILES[self.kind]} | options, server=self.server)
        except _AWAY as error:
            self.refusal = str(error) or type(error).__name__
        self._page = asyncio.create_task(self._watch_page())
        return self

    async def _watch_page(self) -> None:
        # As a browser's EventSource: what breaks is opened anew.
        while True:
            with contextlib.suppress(*_AWAY):
                async for event in self.person.progress(server=self.server):
                    message = event.get("message", "")
                    if message and message not in self.said:
                        self.said.append(message)
                    if event.get("ready") or event.get("failed"):
                        return
            await asyncio.sleep(0.5)

    async def close_page(self) -> None:
        """Close the pending page, and every other."""
        tasks = [*self._clicks, *([self._page] if self._page else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def jobs(self) -> list[Any]:
        """Return the jobs that bear the mark of this server's newest session."""
        record = self.ground.record(self.person.name, self.server)
        mark = f"{record.get('hub_id')}/{record.get('id')}"
        return [job for job in await self.ground.jobs(self.kind) if job.mark == mark]

    async def runs(self) -> Guest:
        """Wait until its job has a place."""

        async def there() -> bool:
            return any(job.runs for job in await self.jobs())

        await until(there, f"{self} runs")
        return self

    def release(self) -> None:
        """Let a server come up that was made to wait."""
        self.ground.sign(self.person.name, self.server, "wait").unlink(missing_ok=True)

    async def queued(self) -> Guest:
        """Wait until the job is in the queue and the hub knows its id."""

        async def there() -> str:
            assert not self.refusal, f"{self} was refused: {self.refusal}"
            return str(self.ground.record(self.person.name, self.server).get("job_id") or "")

        self.job = await until(there, f"{self} is submitted")
        return self

    async def starting(self) -> Guest:
        """Wait until the job's server has been started; it may not answer yet."""
        await self.queued()

        async def there() -> bool:
            return bool(self.ground.server_pids(self.person.name, self.server))

        await until(there, f"{self} runs its server")
        return self

    async def ready(self) -> Guest:
        """Wait until the hub says that the server is ready."""

        async def there() -> bool:
            assert not self.refusal, f"{self} was refused: {self.refusal}"
            return bool((await self.model() or {}).get("ready"))

        await until(there, f"{self} is ready; its page said {self.said}")
        await self.queued()
        return self

    async def gone(self, limit: float = PATIENCE) -> Guest:
        """Wait until the hub says that there is no such server."""

        async def there() -> bool:
            return await self.model() == {}

        await until(there, f"{self} is gone", limit)
        return self

    async def ask_to_stop(self) -> Guest:
        """Click *stop*, and do not wait for the answer."""

        async def delete() -> None:
            with contextlib.suppress(*_AWAY):
                await self.person.api("DELETE", self._path)

        self._clicks.append(asyncio.create_task(delete()))
        await asyncio.sleep(0)
        return self

    async def forget(self) -> None:
        """Click *delete*: a named server that is stopped still counts as one of a user's five."""
        with contextlib.suppress(*_AWAY):
            await self.person.api("DELETE", self._path, body={"remove": bool(self.server)})

    @property
    def _path(self) -> str:
        server = f"servers/{self.server}" if self.server else "server"
        return f"users/{self.person.name}/{server}"

    # -- what would be lost --------------------------------------------------------------------

    async def remember(self) -> Guest:
        """Start a kernel that holds something."""

        async def entered() -> str:
            # What the proxy answers in the first moment, a browser's next click mends.
            with contextlib.suppress(*_AWAY):
                await self.person.enter(self.server)
                status, kernel = await self.person.server_api(
                    "POST", "kernels", server=self.server, body={}
                )
                return str(kernel["id"]) if status == 201 else ""
            return ""

        self.kernel = await until(entered, f"{self} has a kernel", 60)
        assert await self.execute("held = 'what took an hour'; print(held)") == "what took an hour"
        return self

    @contextlib.asynccontextmanager
    async def open_notebook(self) -> AsyncIterator[Notebook]:
        """Have the WebSocket to the kernel open, as a notebook in JupyterLab has."""
        base = self.person.server_url(self.server)
        headers = self.person._xsrf(base) | {"Origin": self.person.hub.rstrip("/")}
        url = base + f"api/kernels/{self.kernel}/channels"
        async with self.person._http.ws_connect(url, headers=headers) as socket:
            yield partial(self.person._execute, socket)

    async def execute(self, cell: str, limit: float = 60) -> str:
        """Run a cell in the kernel that was started."""
        async with self.open_notebook() as run:
            return await asyncio.wait_for(run(cell), limit)

    async def unharmed(self) -> Guest:
        """Assert that it is the same job, the same server and the same kernel as before."""

        async def remembers() -> bool:
            with contextlib.suppress(*_AWAY):
                return await self.execute("print(held)", 20) == "what took an hour"
            return False

        await until(remembers, f"{self} still knows what it knew")
        assert self.ground.record(self.person.name, self.server).get("job_id") == self.job
        (job,) = await self.jobs()
        assert (job.id, job.runs) == (self.job, True), job
        return self

    async def usable(self) -> Guest:
        """Assert that it comes up, in the job that it had, if it had one already."""
        had = self.job
        await self.ready()
        assert not had or self.job == had, f"{self} had job {had}"
        await self.remember()
        return await self.unharmed()
