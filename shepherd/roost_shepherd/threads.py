"""Keep synchronous work off the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


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

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function``, which may write, in a thread and return what it returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writers, partial(function, *args, **kwargs))

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function``, which only reads, in a thread and return what it returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, partial(function, *args, **kwargs))

    def close(self) -> None:
        """Finish what was begun, and end the threads."""
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)
