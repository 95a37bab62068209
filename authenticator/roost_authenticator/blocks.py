"""Users whom an admin has blocked: a file that ``roost block`` writes and the hub reads.

A file, for it must work while the hub is down, and outlive it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

REASON_LENGTH = 200
"""Characters of a reason; it is shown to admins only."""


class BadBlocks(Exception):
    """The file cannot be used; the message says why, and names it."""


@dataclass(frozen=True, slots=True)
class Block:
    """That somebody is blocked."""

    at: float
    """Since when, in seconds since the epoch."""
    reason: str = ""


def read(path: Path) -> dict[str, Block]:
    """Return who is blocked, by name; a file that is not there blocks nobody.

    Raises
    ------
    BadBlocks
        If it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): Block(**block) for name, block in content.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadBlocks(f"{path} (who is blocked) cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError):
        raise BadBlocks(f"{path} (who is blocked) is damaged: `roost block` writes JSON") from None


def block(path: Path, name: str, reason: str = "") -> None:
    """Block a user.  Twice keeps the newer reason.  Raises :class:`BadBlocks` or OSError."""
    with _changing(path) as blocks:
        blocks[name] = Block(time.time(), " ".join(reason.split())[:REASON_LENGTH])


def unblock(path: Path, name: str) -> bool:
    """Unblock a user; return whether they were blocked.  Raises as :func:`block`."""
    with _changing(path) as blocks:
        return blocks.pop(name, None) is not None


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[dict[str, Block]]:
    """Read, let it be changed, and replace the whole file; one after the other."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        blocks = read(path)
        yield blocks
        owner = os.fstat(folder)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                if os.geteuid() == 0:  # an admin blocks, and the hub's account has to read
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                json.dump({user: asdict(one) for user, one in sorted(blocks.items())}, file)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    finally:
        os.close(folder)


class Blocks:
    """Who is blocked, as the file says it now.

    Parameters
    ----------
    path
        The file; empty: nobody is.
    log
        Told when the file cannot be read: then it is as it was before.
    """

    def __init__(self, path: str, log: Any = None) -> None:
        self._path = Path(path) if path else None
        self._log = log or logging.getLogger(__name__)
        self._seen: tuple[int, ...] | None = None
        self._known: dict[str, Block] = {}

    def open(self) -> None:
        """Read it now.  Raises :class:`BadBlocks`."""
        if self._path is not None:
            self._known = read(self._path)

    def __contains__(self, name: str) -> bool:
        return name in self.now()

    def now(self) -> dict[str, Block]:
        """Return who is blocked, by name."""
        if self._path is None:
            return self._known
        try:
            found = self._path.stat()
            seen: tuple[int, ...] = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            seen = ()
        except OSError:
            return self._known
        if seen != self._seen:
            self._seen = seen
            try:
                self._known = read(self._path)
            except BadBlocks as error:
                self._log.error("%s; who was blocked before still is", error)
        return self._known
