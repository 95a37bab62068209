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
    """A few threads for the vault.

    One is right for SQLite, which has one writer anyway.  A call that was begun runs to its end
    even if the coroutine that waits for it is cancelled: a commit is never half abandoned.

    Parameters
    ----------
    count
        Number of threads.
    """

    def __init__(self, count: int = 1) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="roost-vault")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function`` in a thread and return what it returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(function, *args, **kwargs))

    def close(self) -> None:
        """Finish what was begun, and end the threads."""
        self._executor.shutdown(wait=True)
