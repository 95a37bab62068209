"""Paths inside another root: symbolic links must not lead out of it."""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_LINKS = 40  # as the kernel: path_resolution(7)


def inside(root: Path, path: str) -> Path:
    """Return where `path` lies when `root` is ``/``.

    Opening ``root + path`` would follow an absolute link (Debian's ``/var/run``) into the
    machine's own tree.

    Raises
    ------
    OSError
        With ELOOP, if links lead in a circle.
    """
    todo = deque(path.split("/"))
    done: list[str] = []
    links = 0
    while todo:
        part = todo.popleft()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        try:
            target = str(root.joinpath(*done, part).readlink())
        except OSError:
            done.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done.clear()
        todo.extendleft(reversed(target.split("/")))
    return root.joinpath(*done)
