"""Build the layers of the hosts' roots, and keep them in the cache."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import carried
from testbed.authority import make_authority
from testbed.errors import TestbedError
from testbed.jobs import in_order
from testbed.layout import REPOSITORY, Folders, people
from testbed.mirror import mirror
from testbed.recipe import Layer, layers

if TYPE_CHECKING:
    from testbed.steps import Say

NPM = REPOSITORY / "testbed/npm"
PACKAGES = "npm packages"
_KEPT = 24 * 3600.0
"""Seconds for which a layer stays that no recipe asks for."""
ALONE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"),
)
"""Runs a build so that a killed `up` leaves neither its processes nor its mounts behind."""


class Roots:
    """The layers of one Debian suite.

    Parameters
    ----------
    folders
        Where the cache is.
    suite
        Debian suite, as debootstrap knows it.
    """

    def __init__(self, folders: Folders, suite: str) -> None:
        self._cache = folders.cache
        self._authority = folders.authority
        self.suite = suite
        self.layers = layers(suite, people())
        self._digests: dict[str, str] = {}
        for layer in self.layers.values():
            self._digests[layer.name] = layer.digest(REPOSITORY, self._digests)

    def path(self, name: str) -> Path:
        """Return where a layer lies once it is built."""
        return self._cache / "layers" / f"{self.suite}-{name}-{self._digests[name]}"

    def missing(self) -> list[Layer]:
        """Return the layers that are not in the cache yet."""
        return [layer for layer in self.layers.values() if not self.path(layer.name).exists()]

    def build(self, say: Say) -> None:
        """Build what is missing, side by side, and drop what no recipe has asked for in a day.

        Raises
        ------
        TestbedError
            If a layer cannot be built; the cache is as it was but for finished layers.
        """
        make_authority(self._authority)
        missing = {layer.name: layer for layer in self.missing()}
        after = {
            name: tuple(parent for parent in layer.parents if parent in missing)
            for name, layer in missing.items()
        }
        if "npm" in missing:
            after = {PACKAGES: ()} | after
            after["npm"] += (PACKAGES,)

        def do(name: str) -> None:
            if name == PACKAGES:
                with say("npm packages fetched"):
                    npm_modules(self._cache)
                return
            with say(f"layer {name} of {self.suite} built"):
                self._build(missing[name])

        in_order(after, do, workers=3)
        for name in self.layers:
            os.utime(self.path(name))
        self._drop_old()

    def _build(self, layer: Layer) -> None:
        work = self._cache / "building" / f"{self.suite}-{layer.name}"
        shutil.rmtree(work, ignore_errors=True)
        for name in ("upper", "work", "root", "build"):
            (work / name).mkdir(parents=True)
        settings = self._furnish(layer, work / "build")
        _run(
            [*ALONE, "sh", "-eu", "-c", self._script(layer, work, settings)],
            work / "log",
            f"layer {layer.name}",
            env=_build_environment(settings, work / "build"),
        )
        shutil.rmtree(work / "upper/build", ignore_errors=True)
        self.path(layer.name).parent.mkdir(parents=True, exist_ok=True)
        (work / "upper").rename(self.path(layer.name))
        shutil.rmtree(work, ignore_errors=True)

    def _furnish(self, layer: Layer, build: Path) -> carried.PipSettings:
        """Put what the layer's script reads into the folder that it sees as ``/build``."""
        shutil.copy(self._authority / "ca.crt", build / "ca.crt")
        for name in layer.inputs:
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, build / name)
        if layer.name == "npm":
            shutil.copytree(self._cache / "npm", build / "npm", symlinks=True)
        bundle = carried.ca_bundle()
        if bundle is not None:
            shutil.copy(bundle, build / "machine-ca.crt")
        (build / "apt.conf").write_text(carried.machine_apt())
        (build / "script").write_text(layer.script)
        settings = carried.machine_pip()
        for number in range(len(settings.folders)):
            (build / "links" / str(number)).mkdir(parents=True)
        (build / "pip").mkdir()
        (self._cache / "pip").mkdir(exist_ok=True)
        return settings

    def _script(self, layer: Layer, work: Path, settings: carried.PipSettings) -> str:
        lines = [f"cd {shlex.quote(str(work))}"]
        if layer.parents:
            lower = ":".join(str(self.path(name)) for name in layer.parents)
            options = shlex.quote(f"lowerdir={lower},upperdir=upper,workdir=work")
            lines.append(f"mount -t overlay overlay -o {options} root")
        else:
            known = Path("/usr/share/debootstrap/scripts", self.suite).exists()
            # An older debootstrap does not know a newer suite; the script is the same as sid's.
            script = "" if known else "/usr/share/debootstrap/scripts/sid"
            lines += [
                f"debootstrap --variant=minbase {self.suite} upper {mirror()} {script}",
                "mount --bind upper root",
            ]
        lines += [
            "mount -t proc proc root/proc",
            "mount --rbind /dev root/dev",
            "mkdir -p root/build root/srv/roost",
            "mount --bind build root/build",
            f"mount --bind {shlex.quote(str(self._cache / 'pip'))} root/build/pip",
            f"mount --bind -o ro {shlex.quote(str(REPOSITORY))} root/srv/roost",
        ]
        for file in ("/etc/resolv.conf", "/etc/hosts"):
            if Path(file).exists():
                lines += [f"touch root{file}", f"mount --bind -o ro {file} root{file}"]
        for number, folder in enumerate(settings.folders):
            inside = f"root{carried.INSIDE}/{number}"
            lines.append(f"mount --bind -o ro {shlex.quote(str(folder))} {inside}")
        return "\n".join([*lines, "exec chroot root /bin/sh -eu /build/script"])

    def _drop_old(self) -> None:
        wanted = {self.path(name).name for name in self.layers}
        folder = self._cache / "layers"
        old = [
            path
            for path in (folder.iterdir() if folder.exists() else ())
            if path.name.startswith(f"{self.suite}-")
            and path.name not in wanted
            # Another checkout may ask for it in a minute.
            and path.stat().st_mtime < time.time() - _KEPT
        ]
        mounted = _mounted_anywhere() if old else ""
        for path in old:
            # A host that runs on it would lose the ground under its feet.
            if path.name not in mounted:
                shutil.rmtree(path, ignore_errors=True)


def _mounted_anywhere() -> str:
    """Return the mount tables of all processes: a host's root is mounted in its own namespace."""
    tables = set()
    for path in Path("/proc").glob("[0-9]*/mounts"):
        with contextlib.suppress(OSError):
            tables.add(path.read_text(errors="replace"))
    return "".join(tables)


def npm_modules(cache: Path, source: Path = NPM, name: str = "npm") -> Path:
    """Install pinned npm packages into the cache; return the folder with ``node_modules``.

    Parameters
    ----------
    cache
        Where they are kept.
    source
        The folder with ``package.json`` and its lock; the testbed's own by default.
    name
        What the folder in the cache is called.
    """
    lock = (source / "package-lock.json").read_bytes()
    target = cache / name
    stamp = target / "package-lock.json"
    if stamp.exists() and stamp.read_bytes() == lock and (target / "node_modules").exists():
        return target
    draft = cache / f"{name}.new"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source, draft)
    _run(
        [
            *("setpriv", "--pdeathsig", "KILL"),
            *("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"),
            *("--omit-lockfile-registry-resolved", "--prefix", str(draft)),
        ],
        cache / f"{name}.log",
        "npm ci",
    )
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    return target


def _build_environment(settings: carried.PipSettings, build: Path) -> dict[str, str]:
    # The machine may reach its package servers only through its own settings.
    environment = carried.proxies() | settings.environment
    if (build / "machine-ca.crt").exists():
        environment["PIP_CERT"] = "/build/machine-ca.crt"
    return environment | {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "APT_CONFIG": "/build/apt.conf",
        "DEBIAN_FRONTEND": "noninteractive",
        "PIP_CACHE_DIR": "/build/pip",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }


def _run(command: list[str], log: Path, what: str, env: dict[str, str] | None = None) -> None:
    with log.open("ab") as out:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, check=False
        )
    if done.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise TestbedError(f"{what} failed; the last lines of {log}:\n  " + "\n  ".join(lines[-8:]))
