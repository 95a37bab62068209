"""What a hub's processes use, read from the outside: it must not be disturbed by being asked."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from testbed.host import Host

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _CSTIME = 11, 15
"""Fields of ``/proc/<pid>/stat`` after the name: utime, stime, cutime, cstime (proc(5))."""
_PPID = 1


@dataclass(frozen=True, slots=True)
class Usage:
    """What has been used until a moment.

    Attributes
    ----------
    at
        Seconds, by the monotonic clock.
    cpu_s
        CPU seconds of the hub and of all that it started and has waited for, its proxy apart.
    rss_kib
        Resident memory of the hub's own process, in KiB.
    """

    at: float
    cpu_s: float
    rss_kib: int

    def percent_until(self, later: Usage) -> float:
        """Return the CPU used between two moments, in percent of one core."""
        return 100 * (later.cpu_s - self.cpu_s) / (later.at - self.at)


def usage(host: Host, service: str) -> Usage:
    """Return what a hub has used so far."""
    number = host.service_pid(service)
    if number is None:
        raise TimeoutError(f"{service} on {host.name} has ended")
    proc = host.path("/proc")
    stats = {pid: stat for pid in _numbers(proc) if (stat := _stat(proc, pid)) is not None}
    family, found = {number}, {number}
    while found:
        found = {p for p, (_, fields) in stats.items() if int(fields[_PPID]) in found} - family
        # The proxy is a program of its own, in its own language.
        found = {pid for pid in found if not stats[pid][0].startswith("node")}
        family |= found
    ticks = sum(sum(map(int, stats[p][1][_UTIME:_CSTIME])) for p in family if p in stats)
    status = (proc / str(number) / "status").read_text()
    rss = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return Usage(time.monotonic(), ticks / _TICKS, int(rss.split()[1]))


def go_first(host: Host, service: str) -> None:
    """Let a hub run before all else on the machine, as it would on one of its own."""
    number = host.service_pid(service)
    host.run(["sh", "-c", f"renice -n -15 -p {number}; renice -n -15 -g {number}"], check=False)


def _numbers(proc: Path) -> list[int]:
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]


def _stat(proc: Path, pid: int) -> tuple[str, list[str]] | None:
    try:
        text = (proc / str(pid) / "stat").read_text()
    except OSError:
        return None  # ended meanwhile
    name, _, rest = text.partition("(")[2].rpartition(")")
    return name, rest.split()
