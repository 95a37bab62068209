"""Processes that outlive the command that started them, and how they are found again."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LISTEN = "env --default-signal=INT,QUIT"
"""In front of what a shell starts with ``&``, which would ignore these signals, and let its own
children do so: JupyterHub ends its services with SIGINT, and waits 10 s for it."""
_DETACH = f'log=$1; shift; {LISTEN} setsid "$@" >>"$log" 2>&1 & echo $!'


def detach(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> int:
    """Start a process that holds neither this terminal nor this session; return its number.

    It is nobody's child here: whatever adopts orphans on this machine reaps it.
    """
    started = subprocess.run(
        ["sh", "-c", _DETACH, "sh", log, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=env,
        cwd="/",
        start_new_session=True,
        check=True,
    )
    return int(started.stdout)


def start_time(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Return when a process began, in the kernel's ticks; None if there is none or it is dead."""
    # proc(5), stat: the command in parentheses may hold spaces; then field 3 is the state and
    # field 22 the start.
    try:
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def remember(path: Path, pid: int) -> None:
    """Write down a process, so that :func:`recall` finds it and never a later one of its number."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(f"{pid} {start_time(pid)}\n")
    draft.replace(path)


def recall(path: Path) -> int | None:
    """Return the process that was written down, if it still runs."""
    try:
        number, began = path.read_text().split()
    except (OSError, ValueError):
        return None
    return int(number) if start_time(int(number)) == began else None


def first_child(pid: int) -> int | None:
    """Return a process's first child."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def same_namespace(pid: int, kind: str, path: Path) -> bool:
    """Return whether a process is in the namespace that is mounted at `path`."""
    try:
        return os.path.samestat(Path(f"/proc/{pid}/ns/{kind}").stat(), path.stat())
    except OSError:
        return False


def mounts_from(folder: Path) -> bool:
    """Return whether a process of this machine has something mounted that lies in a folder."""
    for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if f"{folder}/" in mounts.read_text():
                return True
    return False
