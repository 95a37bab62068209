"""Every agent that this hub's jobs have ever pinned: one in the queue may outlive many upgrades."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from typing import TYPE_CHECKING

from roost_spawner.bootstrap import agent_source

if TYPE_CHECKING:
    from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")


@functools.cache
def remember(folder: Path) -> str:
    """Keep the current agent's source, and return its SHA-256 in hex.

    Parameters
    ----------
    folder
        Where they are kept; made if it is not there.

    Raises
    ------
    OSError
        If it cannot be written: pinned nonetheless, it would be lost with the next upgrade.
    """
    source, sha256 = agent_source()
    path = folder / f"{sha256}.py"
    if find(folder, sha256, kept=True) is None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{sha256}.{os.getpid()}")
        temporary.write_bytes(source)
        temporary.replace(path)
    return sha256


def find(folder: Path | None, sha256: str, *, kept: bool = False) -> bytes | None:
    """Return an agent's source by its SHA-256, or None if no job of this hub ever pinned it.

    Parameters
    ----------
    folder
        Where they are kept; None for the current one only.
    sha256
        In hex.
    kept
        Look in the folder only.
    """
    source, current = agent_source()
    if sha256 == current and not kept:
        return source
    if folder is None or not _SHA256.fullmatch(sha256):
        return None
    try:
        found = (folder / f"{sha256}.py").read_bytes()
    except OSError:
        return None
    # What was cut short or changed is not what the job has pinned.
    return found if hashlib.sha256(found).hexdigest() == sha256 else None
