"""What the testbed knows of one service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.host import Host


@dataclass(frozen=True, slots=True)
class Service:
    """Something that runs on a host and can be stopped and started by itself.

    Attributes
    ----------
    start
        Brings it up; called only when `ready` says no.
    stop
        Brings it down; by default the daemon of the same name is ended.
    ready
        Whether it answers.
    after
        Services that must be ready before.
    timeout
        Seconds from `start` within which it must be ready.
    log
        Path in the host of a log that it writes itself; without one, what it prints is its log.
    """

    name: str
    host: str
    start: Callable[[Host], None]
    ready: Callable[[Host], bool]
    stop: Callable[[Host], None] | None = None
    after: tuple[str, ...] = ()
    timeout: float = 30.0
    log: str | None = None
