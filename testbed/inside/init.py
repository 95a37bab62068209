"""PID 1 of a host: says that the host is up, then reaps whatever is left to it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path


def _end(_number: int, _frame: object) -> None:
    sys.exit(0)  # the kernel ends everything else in this PID namespace


def _leave_root_group() -> None:
    # cgroup v2 lets a group either hold processes or hand its controllers on; a batch system needs
    # the host's topmost group for the latter.
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        (top / "init").mkdir(exist_ok=True)
        (top / "init/cgroup.procs").write_text("0")


def main() -> None:
    """Reap until told to end."""
    signal.signal(signal.SIGTERM, _end)
    # Blocked, so that a child that ends between the two calls below is not missed.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    _leave_root_group()
    Path("/run/host-is-up").touch()
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        signal.sigtimedwait([signal.SIGCHLD], 60)


if __name__ == "__main__":
    main()
