"""The audit log: who did what and when, one JSON object a line, without secrets.

Lines are written by a thread of their own: a disk that hangs does not stop the hub.
"""

# typing.override came with Python 3.12.
# mypy: disable-error-code="explicit-override"

from __future__ import annotations

import json
import logging
import os
import queue
import time
from logging.handlers import QueueHandler, QueueListener, WatchedFileHandler
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONGEST = 300
"""Characters of one value; the rest is cut off."""
WAITING = 10_000
"""Lines that wait for the disk; more are dropped."""
_log = logging.getLogger("roost.audit")
_log.propagate = False
_log.addHandler(logging.NullHandler())
_log.setLevel(logging.INFO)


def note(event: str, **fields: str | float | list[str] | None) -> None:
    """Write a line; never raises.

    Parameters
    ----------
    event
        What has happened.
    **fields
        More about it; None is left out.  No token and no secret.
    """
    known = {name: _short(value) for name, value in fields.items() if value not in (None, "")}
    _log.info("%s", json.dumps({"at": round(time.time(), 3), "event": event, **known}))


def _short(value: object) -> object:
    return value[:LONGEST] if isinstance(value, str) else value


class _Private(WatchedFileHandler):
    """A file that only its account reads; made anew when it was moved away."""

    def _open(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - as the class above has it
        os.close(os.open(self.baseFilename, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600))
        return super()._open()


class _Waiting(QueueHandler):
    def enqueue(self, record: logging.LogRecord) -> None:
        """Hand a line over; drop it where too many wait."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            logging.getLogger(__name__).warning("The audit log cannot be written; a line is lost")


def open_log(path: str | Path) -> Callable[[], None]:
    """Have the lines written to a file; return what writes the last ones and closes it.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    lines: queue.Queue[logging.LogRecord] = queue.Queue(WAITING)
    file = _Private(str(path), encoding="utf-8")
    listener = QueueListener(lines, file)
    waiting = _Waiting(lines)
    _log.handlers[:] = [waiting]
    listener.start()

    def close() -> None:
        if _log.handlers[0] is not waiting:
            return
        _log.handlers[:] = [logging.NullHandler()]
        listener.stop()
        file.close()

    return close
