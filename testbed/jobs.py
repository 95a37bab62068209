"""Do jobs side by side, each when those that it waits for are done."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from testbed.errors import TestbedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def in_order(
    after: Mapping[str, tuple[str, ...]], do: Callable[[str], None], *, workers: int = 4
) -> None:
    """Call `do` for every job of `after`, not before those that it names have ended.

    After the first failure nothing new is begun; what has begun is waited for.

    Raises
    ------
    TestbedError
        If jobs wait for one another, or for one that there is not.
    Exception
        The first failure of a job.
    """
    left = dict(after)
    done: set[str] = set()
    running: dict[Future[None], str] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        while left or running:
            for name in [name for name, needs in left.items() if done.issuperset(needs)]:
                del left[name]
                running[pool.submit(do, name)] = name
            if not running:
                waits = "; ".join(f"{name} for {', '.join(left[name])}" for name in sorted(left))
                raise TestbedError(f"These wait for something that never comes: {waits}")
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(future)
                future.result()
                done.add(name)
