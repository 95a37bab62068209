"""Build the layers of the hosts' roots, and keep them in the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.authority import make_authority
from testbed.errors import TestbedError
from testbed.layout import REPOSITORY, Folders, people
from testbed.recipe import Layer, layers

if TYPE_CHECKING:
    from testbed.steps import Say

MACHINE_CA = Path("/etc/ssl/certs/ca-certificates.crt")


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
        """Build what is missing, two layers at a time, and drop what no recipe asks for.

        Raises
        ------
        TestbedError
            If a layer cannot be built; the cache is as it was but for finished layers.
        """
        make_authority(self._authority)
        missing = {layer.name: layer for layer in self.missing()}
        if missing:
            with ThreadPoolExecutor(max_workers=3) as workers:
                started: dict[str, Future[None]] = {}
                for layer in missing.values():
                    before = [started[name] for name in layer.parents if name in started]
                    started[layer.name] = workers.submit(self._build, layer, before, say)
                for future in started.values():
                    future.result()
        self._drop_old()

    def _build(self, layer: Layer, before: list[Future[None]], say: Say) -> None:
        for future in before:
            future.result()
        with say(f"layer {layer.name} of {self.suite} built"):
            work = self._cache / "building" / layer.name
            shutil.rmtree(work, ignore_errors=True)
            (work / "upper").mkdir(parents=True)
            if layer.name == "base":
                self._debootstrap(work)
            if layer.name == "npm":
                self._npm(work)
            self._run_script(layer, work)
            self.path(layer.name).parent.mkdir(parents=True, exist_ok=True)
            (work / "upper").rename(self.path(layer.name))
            shutil.rmtree(work, ignore_errors=True)

    def _debootstrap(self, work: Path) -> None:
        command = ["debootstrap", "--variant=minbase", self.suite, str(work / "upper")]
        scripts = Path("/usr/share/debootstrap/scripts")
        # An older debootstrap does not know a newer suite; the script is the same as sid's.
        if not (scripts / self.suite).exists():
            command.append(str(scripts / "sid"))
        _run(command, work / "log", "debootstrap")
        (work / "upper/usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (work / "upper/usr/sbin/policy-rc.d").chmod(0o755)

    def _npm(self, work: Path) -> None:
        shutil.copytree(npm_modules(self._cache), work / "npm", symlinks=True)

    def _run_script(self, layer: Layer, work: Path) -> None:
        build = work / "build"
        (build / "authority").mkdir(parents=True)
        shutil.copy(self._authority / "ca.crt", build / "authority/ca.crt")
        for name in layer.inputs:
            (build / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, build / name)
        if (work / "npm").exists():
            (work / "npm").rename(build / "npm")
        (build / "script").write_text(layer.script)
        if MACHINE_CA.exists():
            shutil.copy(MACHINE_CA, build / "machine-ca.crt")
        wheels = [Path(p) for p in os.environ.get("PIP_FIND_LINKS", "").split() if Path(p).is_dir()]
        pip_cache = self._cache / "pip"
        pip_cache.mkdir(exist_ok=True)
        lower = ":".join(str(self.path(name)) for name in layer.parents)
        # In a mount namespace of its own: a killed build leaves no mount behind.
        script = f"""
set -eu
cd {work}
mkdir -p root work
if [ -n "{lower}" ]; then
  mount -t overlay overlay -o lowerdir={lower},upperdir=upper,workdir=work root
else
  mount --bind upper root
fi
mount -t proc proc root/proc
mount --rbind /dev root/dev
mkdir -p root/build root/srv/roost root/var/cache/pip
mount --bind build root/build
mount --bind {pip_cache} root/var/cache/pip
mount --bind -o ro {REPOSITORY} root/srv/roost
cp --remove-destination /etc/resolv.conf root/etc/resolv.conf 2>/dev/null || true
{"".join(f"mkdir -p root{w}; mount --bind {w} root{w}; " for w in wheels)}
status=0
chroot root /bin/sh -eu /build/script || status=$?
exit $status
"""
        _run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            work / "log",
            f"layer {layer.name}",
            env=_build_environment(),
        )
        for leftover in ("build", "var/cache/pip"):
            shutil.rmtree(work / "upper" / leftover, ignore_errors=True)

    def _drop_old(self) -> None:
        wanted = {self.path(name).name for name in self.layers}
        folder = self._cache / "layers"
        for path in folder.iterdir() if folder.exists() else ():
            if path.name.startswith(f"{self.suite}-") and path.name not in wanted:
                shutil.rmtree(path, ignore_errors=True)


def npm_modules(cache: Path) -> Path:
    """Install the pinned npm packages into the cache; return the folder with ``node_modules``."""
    source = REPOSITORY / "testbed/npm"
    lock = (source / "package-lock.json").read_bytes()
    target = cache / "npm"
    stamp = target / "package-lock.json"
    if stamp.exists() and stamp.read_bytes() == lock and (target / "node_modules").exists():
        return target
    draft = cache / "npm.new"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source, draft)
    _run(
        ["npm", "ci", "--no-audit", "--no-fund", "--prefix", str(draft)],
        cache / "npm.log",
        "npm ci",
    )
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    return target


def _build_environment() -> dict[str, str]:
    # The machine may reach its package servers only through its own settings for pip.
    carried = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("PIP_") or name.lower().endswith("_proxy")
    }
    index = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        text=True,
        check=False,
    )
    if index.returncode == 0 and index.stdout.strip():
        carried.setdefault("PIP_INDEX_URL", index.stdout.strip())
    return carried | {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "PIP_CERT": "/build/machine-ca.crt",
        "PIP_CACHE_DIR": "/var/cache/pip",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PYTHONDONTWRITEBYTECODE": "",
    }


def _run(command: list[str], log: Path, what: str, env: dict[str, str] | None = None) -> None:
    with log.open("ab") as out:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, check=False
        )
    if done.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise TestbedError(f"{what} failed; the last lines of {log}:\n  " + "\n  ".join(lines[-8:]))
