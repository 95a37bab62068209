"""A PostgreSQL of the tests' own: a cluster in a temporary folder, on a Unix socket alone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path


def _program(name: str) -> str:
    """Return a server program's path; Debian keeps them out of PATH."""
    found = shutil.which(name)
    if found:
        return found
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    assert places, f"{name} of PostgreSQL is not installed; `make postgresql` installs it"
    return str(places[-1])


class Postgres:
    """Start it with ``start()``; it can be stopped, frozen and started again."""

    def __init__(self) -> None:
        # Not under pytest's folder, which the server's own account may not enter.
        self.folder = Path(tempfile.mkdtemp(prefix="roost-pg-"))
        self._account = pwd.getpwuid(os.getuid())
        if os.getuid() == 0:  # as root it refuses to run
            self._account = pwd.getpwnam("nobody")
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self._databases = 0
        self._run("initdb", "--no-sync", "--auth=trust", "--username=roost", "--encoding=UTF8")

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "--wait", "--log", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Stop as an admin does who does not wait for clients."""
        self._run("pg_ctl", "--wait", "--mode=fast", "stop")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to all that serve its connections."""
        leader = int((self.folder / "data/postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        for pid in (leader, *map(int, children)):
            os.kill(pid, number)

    def url(self) -> str:
        """Make an empty database and return its URL."""
        self._databases += 1
        name = f"vault{self._databases}"
        subprocess.run(
            [_program("createdb"), "-h", str(self.folder), "-U", "roost", name],
            check=True,
            timeout=60,
        )
        return f"postgresql://roost@/{name}?host={self.folder}"

    def remove(self) -> None:
        if (self.folder / "data/postmaster.pid").exists():
            self.signal(signal.SIGCONT)
            self._run("pg_ctl", "--wait", "--mode=immediate", "stop")
        shutil.rmtree(self.folder)

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(
            [_program(name), "--pgdata", str(self.folder / "data"), *arguments],
            check=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            user=self._account.pw_uid,
            group=self._account.pw_gid,
            extra_groups=[],
            cwd=self.folder,
        )
