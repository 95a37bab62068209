"""A line per step, with its time, so that nobody stares at a silent terminal."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


class Say(Protocol):
    """Prints a step once it is done."""

    def __call__(self, text: str) -> AbstractContextManager[None]:
        """Return a context that prints `text` and its duration when it ends well."""
        ...


class Printer:
    """Prints steps to standard output; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def __call__(self, text: str) -> Iterator[None]:
        """See :class:`Say`."""
        began = time.monotonic()
        yield
        with self._lock:
            print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)
