"""One host: its namespaces, its root, and what can be done in it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import net
from testbed.errors import TestbedError
from testbed.layout import REPOSITORY, Folders, fqdn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CGROUPS = Path("/sys/fs/cgroup")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PID_FILES = "/run/testbed"


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the testbed.

    Its PID 1 is remembered by number and start time, so that a number that the machine has given
    to another process since is never taken for it.
    """

    name: str
    address: str
    folders: Folders

    @property
    def fqdn(self) -> str:
        """The full name."""
        return fqdn(self.name)

    @property
    def folder(self) -> Path:
        """What the machine keeps of this host."""
        return self.folders.host(self.name)

    @property
    def logs(self) -> Path:
        """The logs of the services, as the machine sees them."""
        return self.folders.logs / self.name

    # -- life ----------------------------------------------------------------------------------

    def boot(self, layers: Sequence[Path], *, homes: Path | None) -> None:
        """Start the host's init in namespaces of its own, and wait until it says that it is up."""
        if self.pid() is not None:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": PATH,
            "HOST_NAME": self.name,
            "HOST_FQDN": self.fqdn,
            "HOST_DIR": str(self.folder),
            "HOST_LAYERS": ":".join(str(layer) for layer in layers),
            "HOST_LOGS": str(self.logs),
            "HOST_REPOSITORY": str(REPOSITORY),
            "HOST_HOMES": str(homes) if homes else "",
        }
        log = self.folder / "boot.log"
        with log.open("wb") as out:
            outer = subprocess.Popen(
                [
                    *("nsenter", f"--net=/run/netns/{net.namespace(self.name)}"),
                    *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"),
                    str(REPOSITORY / "testbed/inside/enter.sh"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment,
                start_new_session=True,
            )
        until = time.monotonic() + 20
        while time.monotonic() < until and outer.poll() is None:
            child = _first_child(outer.pid)
            if child and Path(f"/proc/{child}/root/run/host-is-up").exists():
                (self.folder / "init").write_text(f"{child} {_start_time(child)}")
                return
            time.sleep(0.02)
        outer.kill()
        raise TestbedError(f"host {self.name} did not come up: {log.read_text().strip()[-500:]}")

    def pid(self) -> int | None:
        """Return the machine's number for the host's PID 1; None if it is down."""
        try:
            number, started = (self.folder / "init").read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(number) if _start_time(int(number)) == started else None

    def kill(self) -> None:
        """End everything in the host, at once."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            until = time.monotonic() + 20
            while self.pid() is not None and time.monotonic() < until:
                time.sleep(0.02)
        for group in _groups(self.name, "*"):
            _remove_group(group.parent)

    # -- inside --------------------------------------------------------------------------------

    def _enter(self, command: Sequence[str], user: str | None, cwd: str | None) -> list[str]:
        pid = self.pid()
        if pid is None:
            raise TestbedError(f"host {self.name} is down; `python -m testbed up` starts it.")
        joined = "".join(f"echo 0 > {shlex.quote(str(g))}; " for g in _groups(self.name))
        become = []
        if user not in (None, "root"):
            become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        return [
            *("sh", "-c", joined + 'exec "$@"', "sh"),
            *("nsenter", f"--target={pid}"),
            *("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"),
            *("env", f"--chdir={cwd or '/'}", *become, *command),
        ]

    @staticmethod
    def _environment(user: str | None, extra: Mapping[str, str] | None) -> dict[str, str]:
        home = "/root" if user in (None, "root") else f"/home/{user}"
        names = {"USER": user or "root", "LOGNAME": user or "root", "HOME": home}
        return names | {"PATH": PATH, "LANG": "C.UTF-8"} | dict(extra or {})

    def run(
        self,
        command: Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        input: str | None = None,  # noqa: A002 - subprocess.run's own word
        check: bool = True,
        timeout: float = 30,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host and return what it printed.

        Raises
        ------
        TestbedError
            If `check` is set and it fails.
        """
        done = subprocess.run(
            self._enter(command, user, cwd),
            env=self._environment(user, env),
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()[-600:]
            raise TestbedError(f"{command[0]} on {self.name} ended with {done.returncode}: {said}")
        return done

    def attach(self, command: Sequence[str], *, user: str | None = None) -> int:
        """Run a command in the host on this terminal; return its exit status."""
        extra = {"TERM": os.environ.get("TERM", "dumb")}
        return subprocess.run(
            self._enter(command, user, None), env=self._environment(user, extra), check=False
        ).returncode

    def popen(
        self, command: Sequence[str], *, user: str | None = None, **options: object
    ) -> subprocess.Popen[bytes]:
        """Start a command in the host as a child of this process (for tests)."""
        return subprocess.Popen(
            self._enter(command, user, None),
            env=self._environment(user, None),
            **options,  # type: ignore[call-overload]
        )

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> None:
        """Start a daemon; its output goes to the service's log."""
        detach = (
            f'mkdir -p {PID_FILES}; "$@" >>/var/log/testbed/{name}.log 2>&1 </dev/null & '
            f"echo $! >{PID_FILES}/{name}.pid"
        )
        become: list[str] = []
        if user not in (None, "root"):
            become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        command = ["sh", "-c", detach, "sh", "setsid", *become, *command]
        subprocess.run(
            self._enter(command, None, cwd),
            env=self._environment(user, env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=30,
            check=True,
        )

    def service_pid(self, name: str) -> int | None:
        """Return a daemon's number inside the host; None if it does not run."""
        pid = self.pid()
        if pid is None:
            return None
        root = Path(f"/proc/{pid}/root")
        try:
            number = int((root / PID_FILES.lstrip("/") / f"{name}.pid").read_text())
            state = (root / f"proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        return None if state == "Z" else number

    def alive(self, name: str) -> bool:
        """Return whether a daemon that :meth:`spawn` started still runs."""
        return self.service_pid(name) is not None

    def stop(self, name: str, timeout: float = 10, signal_name: str = "TERM") -> None:
        """End a daemon: first politely, then after `timeout` seconds with KILL."""
        number = self.service_pid(name)
        if number is None:
            return
        self.run(["kill", f"-{signal_name}", str(number)], check=False)
        until = time.monotonic() + timeout
        while self.alive(name) and time.monotonic() < until:
            time.sleep(0.05)
        if self.alive(name):
            self.run(["kill", "-KILL", str(number)], check=False)

    def path(self, inside: str) -> Path:
        """Return where the machine sees a path of the host."""
        pid = self.pid()
        if pid is None:
            raise TestbedError(f"host {self.name} is down")
        return Path(f"/proc/{pid}/root") / inside.lstrip("/")

    def write(
        self, inside: str, content: str | bytes, *, owner: str = "root", mode: int = 0o644
    ) -> None:
        """Write a file in the host, never readable by others than `mode` says, at no moment."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)
        data = content.encode() if isinstance(content, str) else content
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            os.fchmod(file.fileno(), mode)
            os.fchown(file.fileno(), *self.ids(owner))
            file.write(data)
        draft.rename(path)

    def read(self, inside: str) -> str:
        """Return a file of the host."""
        return self.path(inside).read_text()

    def ids(self, user: str) -> tuple[int, int]:
        """Return user and group number of an account of the host."""
        for line in self.read("/etc/passwd").splitlines():
            fields = line.split(":")
            if fields[0] == user:
                return int(fields[2]), int(fields[3])
        raise TestbedError(f"{self.name} has no account {user}")


def _groups(host: str, controller: str = "*") -> list[Path]:
    """Return the ``cgroup.procs`` files that put a process among a host's."""
    if (CGROUPS / "cgroup.controllers").exists():
        return list(CGROUPS.glob(f"roost-testbed/{host}/init/cgroup.procs"))
    return sorted(CGROUPS.glob(f"{controller}/roost-testbed/{host}/cgroup.procs"))


def remove_groups() -> None:
    """Remove every cgroup of the testbed."""
    for top in [CGROUPS / "roost-testbed", *CGROUPS.glob("*/roost-testbed")]:
        if top.is_dir() and not top.is_symlink():
            _remove_group(top)


def _remove_group(top: Path) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        for _ in range(50):
            try:
                Path(folder).rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.02)  # the kernel is still taking its last process down


def _first_child(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def _start_time(pid: int) -> str | None:
    # Field 22 of proc(5)'s stat; the command in parentheses may hold spaces.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
