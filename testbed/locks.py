"""Locks between the commands of one testbed, and between the testbeds of one machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.errors import TestbedError
from testbed.layout import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = Path(f"/run/{NAME}-testbed.lock")
SHARED = Path("/run/testbeds.lock")
"""For what all testbeds of a machine share: ``/etc/hosts`` and the folder of ``ip netns``."""


@contextlib.contextmanager
def one_command() -> Iterator[None]:
    """Hold the testbed for one `up` or `down`.

    Raises
    ------
    TestbedError
        If another command holds it.
    """
    with OWN.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.path.samestat(os.fstat(file.fileno()), OWN.stat())
        except OSError:
            mine = False  # held, or removed by its holder between our open and our lock
        if not mine:
            raise TestbedError(
                "Another `python -m testbed up` or `down` is at work; wait for it to end."
            )
        try:
            yield
        finally:
            OWN.unlink()


@contextlib.contextmanager
def wait_for(path: Path) -> Iterator[None]:
    """Wait for a lock that testbeds of other names take too, and hold it.

    The file stays: a holder that removed it would leave two files of one name, each locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
