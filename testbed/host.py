"""One host: its namespaces, its root, and what can be done in it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import net, processes
from testbed.errors import TestbedError
from testbed.layout import CGROUP, REPOSITORY, Folders, fqdn
from testbed.rooted import inside

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

    def boot(self, layers: Sequence[Path], *, homes: Path | None, source: bool) -> None:
        """Start the host's init in namespaces of its own, and wait until it says that it is up."""
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
            "HOST_CGROUP": CGROUP,
            "HOST_INIT": str(REPOSITORY / "testbed/inside/init.py"),
            "HOST_REPOSITORY": str(REPOSITORY) if source else "",
            "HOST_HOMES": str(homes) if homes else "",
        }
        log = self.folder / "boot.log"
        outer = processes.detach(
            [
                *("nsenter", f"--net=/run/netns/{net.namespace(self.name)}"),
                *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"),
                *("sh", str(REPOSITORY / "testbed/inside/enter.sh")),
            ],
            log,
            environment,
        )
        (self.folder / "layers").write_text(environment["HOST_LAYERS"])
        until = time.monotonic() + 20
        while time.monotonic() < until and processes.start_time(outer):
            child = processes.first_child(outer)
            if child and Path(f"/proc/{child}/root/run/host-is-up").exists():
                processes.remember(self.folder / "init", child)
                return
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.kill(outer, signal.SIGKILL)
        raise TestbedError(f"host {self.name} did not come up: {log.read_text().strip()[-500:]}")

    def pid(self) -> int | None:
        """Return the machine's number for the host's PID 1; None if it is down."""
        return processes.recall(self.folder / "init")

    def is_of(self, layers: Sequence[Path]) -> bool:
        """Return whether the running host was made of these layers."""
        try:
            return (self.folder / "layers").read_text() == ":".join(map(str, layers))
        except FileNotFoundError:
            return False

    def kill(self) -> None:
        """End everything in the host, at once."""
        until = time.monotonic() + 20
        while pids := self._processes():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until:
                raise TestbedError(f"Processes of host {self.name} will not die: {sorted(pids)}")
            time.sleep(0.02)
        for top in _tops(self.name):
            _remove_group(top)

    def _processes(self) -> set[int]:
        # Known by their cgroups and by their network namespace, not only by what was written down.
        known = self.pid()
        found = set() if known is None else {known}
        for top in _tops(self.name):
            for file in top.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    found.update(map(int, file.read_text().split()))
        found.update(net.processes(net.namespace(self.name)))
        return {pid for pid in found if processes.start_time(pid)}

    # -- inside --------------------------------------------------------------------------------

    def _enter(self, command: Sequence[str], user: str | None, cwd: str | None) -> list[str]:
        pid = self.pid()
        if pid is None:
            raise TestbedError(f"host {self.name} is down; `python -m testbed up` starts it.")
        joined = "".join(f"echo 0 > {shlex.quote(str(g))}; " for g in _groups(self.name))
        return [
            *("sh", "-c", joined + 'exec "$@"', "sh"),
            *("nsenter", f"--target={pid}"),
            *("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"),
            *("env", f"--chdir={cwd or '/'}", *_become(user), *command),
        ]

    def _environment(self, user: str | None, extra: Mapping[str, str] | None) -> dict[str, str]:
        name = user or "root"
        names = {"USER": name, "LOGNAME": name, "HOME": self.account(name).home}
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
            errors="replace",  # jobs have names of any bytes
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
        self, command: Sequence[str], *, user: str | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a command in the host as a child of this process (for tests)."""
        started: subprocess.Popen[bytes] = subprocess.Popen(
            self._enter(command, user, None), env=self._environment(user, None), **options
        )
        return started

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
            f"mkdir -p {PID_FILES}; "
            f'{processes.LISTEN} "$@" >>/var/log/testbed/{name}.log 2>&1 </dev/null & '
            f'echo "$! $(cut -d" " -f22 /proc/$!/stat)" >{PID_FILES}/{name}.pid'
        )
        command = ["sh", "-c", detach, "sh", "setsid", *_become(user), *command]
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
            number, began = (root / f"{PID_FILES.lstrip('/')}/{name}.pid").read_text().split()
        except (OSError, ValueError):
            return None
        return int(number) if processes.start_time(int(number), root / "proc") == began else None

    def service_age(self, name: str) -> float | None:
        """Return for how many seconds a daemon has been running; None if it does not."""
        number = self.service_pid(name)
        if number is None:
            return None
        ticks = processes.start_time(number, self.path("/proc"))
        up = float(Path("/proc/uptime").read_text().split()[0])
        return up - int(ticks or 0) / os.sysconf("SC_CLK_TCK")

    def alive(self, name: str) -> bool:
        """Return whether a daemon that :meth:`spawn` started still runs."""
        return self.service_pid(name) is not None

    def stop(self, name: str, timeout: float = 10, signal_name: str = "TERM") -> None:
        """End a daemon: first politely, then after `timeout` seconds with KILL; with its group."""
        number = self.service_pid(name)
        if number is None:
            return
        self.run(["kill", f"-{signal_name}", str(number)], check=False)
        until = time.monotonic() + timeout
        while self.alive(name) and time.monotonic() < until:
            time.sleep(0.05)
        self.run(["kill", "-KILL", "--", f"-{number}"], check=False)

    def path(self, path: str) -> Path:
        """Return where the machine sees a path of the host, links followed as the host would."""
        pid = self.pid()
        if pid is None:
            raise TestbedError(f"host {self.name} is down; `python -m testbed up` starts it.")
        return inside(Path(f"/proc/{pid}/root"), path)

    def write(
        self, path: str, content: str | bytes, *, owner: str = "root", mode: int = 0o644
    ) -> None:
        """Write a file in the host, never readable by others than `mode` says, at no moment."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{threading.get_ident()}")
        account = self.account(owner)
        draft.unlink(missing_ok=True)
        data = content.encode() if isinstance(content, str) else content
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            os.fchmod(file.fileno(), mode)
            os.fchown(file.fileno(), account.uid, account.gid)
            file.write(data)
        draft.rename(target)

    def read(self, path: str) -> str:
        """Return a file of the host."""
        return self.path(path).read_text()

    def account(self, user: str) -> Account:
        """Return an account of the host.

        Raises
        ------
        TestbedError
            If there is none of that name.
        """
        for line in self.read("/etc/passwd").splitlines():
            name, _, uid, gid, _, home, _ = line.split(":")
            if name == user:
                return Account(int(uid), int(gid), home)
        raise TestbedError(f"{self.name} has no account {user}.")


@dataclass(frozen=True, slots=True)
class Account:
    """What a host's ``/etc/passwd`` says of somebody."""

    uid: int
    gid: int
    home: str


def _become(user: str | None) -> list[str]:
    if user in (None, "root"):
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]


def _groups(host: str, controller: str = "*") -> list[Path]:
    """Return the ``cgroup.procs`` files that put a process among a host's."""
    if (CGROUPS / "cgroup.controllers").exists():
        return list(CGROUPS.glob(f"{CGROUP}/{host}/init/cgroup.procs"))
    return sorted(CGROUPS.glob(f"{controller}/{CGROUP}/{host}/cgroup.procs"))


def _tops(host: str) -> list[Path]:
    """Return a host's topmost cgroup in every hierarchy."""
    return [*CGROUPS.glob(f"{CGROUP}/{host}"), *CGROUPS.glob(f"*/{CGROUP}/{host}")]


def remove_groups() -> None:
    """Remove every cgroup of the testbed."""
    for top in [*CGROUPS.glob(CGROUP), *CGROUPS.glob(f"*/{CGROUP}")]:
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
