"""Keep synchronous work off the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from roost_shepherd.errors import VaultUnusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

P = ParamSpec("P")
T = TypeVar("T")

_READ_MOST = 10.0  # seconds that somebody waits for a reading
_CLOSE_MOST = 5.0  # seconds that the end waits for a database that hangs


class Threads:
    """A few threads for the vault, those that write apart from those that read.

    One that writes is right for SQLite, which has one writer anyway; its readers wait for nobody
    (SQLite manual, "Write-Ahead Logging"), so that a token from the vault need not queue behind
    the disk.  A call that was begun runs to its end even if the coroutine that waits for it is
    cancelled: a commit is never half abandoned.

    Parameters
    ----------
    writers, readers
        Numbers of threads.
    """

    def __init__(self, writers: int = 1, readers: int = 2) -> None:
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="roost-vault")
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="roost-vault-read")
        self._running: set[Future[Any]] = set()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function``, which may write, in a thread and return what it returns."""
        return await self._in(self._writers, partial(function, *args, **kwargs))

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function``, which only reads, in a thread and return what it returns.

        Raises
        ------
        VaultUnusable
            If it takes longer than ten seconds: the database hangs.
        """
        try:
            async with asyncio.timeout(_READ_MOST):
                return await self._in(self._readers, partial(function, *args, **kwargs))
        except TimeoutError:
            raise VaultUnusable(
                "The vault of tokens cannot be used at the moment; please tell the hub's admin.",
                detail=f"the database did not answer in {_READ_MOST:.0f} s",
            ) from None

    async def close(self) -> bool:
        """Finish what was begun, and end the threads.

        Returns
        -------
        bool
            ``False`` if some hang with the database; they end when it answers.
        """
        running = [asyncio.wrap_future(work) for work in tuple(self._running)]
        if running:
            await asyncio.wait(running, timeout=_CLOSE_MOST)
        done = not self._running
        for executor in (self._writers, self._readers):
            executor.shutdown(wait=done, cancel_futures=True)
        return done

    async def _in(self, executor: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        work = executor.submit(call)
        self._running.add(work)
        work.add_done_callback(self._running.discard)
        return await asyncio.wrap_future(work)


def writers_for(url: str) -> int:
    """Return how many threads the vault gets: SQLite has one writer, servers have many."""
    try:
        return 1 if make_url(url).get_backend_name() == "sqlite" else 4
    except ArgumentError:
        return 1
