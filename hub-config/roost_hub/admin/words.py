"""Figures of a report in the words of the page.  Pure."""

from __future__ import annotations

REASONS = {
    "choice": "choice not allowed",
    "evicted": "node taken back",
    "failed": "server failed",
    "finished": "server ended by itself",
    "held": "job put on hold",
    "node-lost": "node lost",
    "out-of-disk": "out of disk space",
    "out-of-memory": "out of memory",
    "removed": "job removed",
    "site": "cluster not in the site file",
    "submit": "refused by the cluster",
    "timeout": "not ready in time",
    "token": "no token for the cluster",
    "unknown": "reason unknown",
    "walltime": "time was up",
}
"""Why starts failed."""
GRANTS = {
    "live": "good",
    "retrying": "waiting for the provider",
    "needs_login": "log in again",
    "aup_required": "policy to sign",
    "suspended": "suspended",
    "revoked": "given up",
}
"""How grants stand."""


def seconds(value: float) -> str:
    """Return a duration for people: as exact as it matters."""
    if value < 0.1:
        return f"{1000 * value:.0f} ms"
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


def memory(mib: float) -> str:
    """Return an amount of memory for people."""
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib:.0f} MiB"
