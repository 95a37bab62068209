"""From a session's wish to what the broker is asked.  Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.slurm import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roost_spawner.clusters.base import JobRequest, Launcher, Resources

_END = "ROOST_END"


def payload(request: JobRequest) -> dict[str, Any]:
    """Return the body of ``POST /v1/jobs``; what is not asked for is left out."""
    return {
        "script": script(request.launcher),
        "mark": request.mark,
        **wish(request.resources, request.extras),
    }


def wish(wanted: Resources, extras: Mapping[str, str]) -> dict[str, Any]:
    """Return the part of it that says what a job asks for: the body of ``POST /v1/check``.

    Raises
    ------
    ValueError
        If options are wrong; the site file was checked for that.
    """
    body: dict[str, Any] = {
        "partition": wanted.partition,
        "cpus": wanted.cpus,
        "memory_mib": wanted.memory_mib,
        "time_minutes": max(1, -(-wanted.walltime_s // 60)),
        "gpus": wanted.gpus,
        "gpu_type": wanted.gpu_type if wanted.gpus else None,
        "account": wanted.account,
        "qos": wanted.qos,
        "constraint": wanted.constraint,
        "reservation": wanted.reservation,
    }
    if extras:
        if problem := extras_problem(extras):
            raise ValueError(problem)
        body["options"] = dict(extras)
    return {name: value for name, value in body.items() if value is not None}


def extras_problem(extras: Mapping[str, str]) -> str | None:
    """Return what is wrong with options of a profile, in a sentence; None if nothing.

    Parameters
    ----------
    extras
        Options of ``sbatch`` by their long names.
    """
    return options.problem(extras)


def script(launcher: Launcher) -> str:
    """Return the job's script.

    Code and ticket reach Python on its standard input: neither is in an argument list or in the
    environment, which others on the node can read.  ``exec`` makes Python the batch process, so
    that Slurm's SIGTERM gets to it.  ``-I`` keeps the current folder and the user's ``PYTHON*``
    out of what is imported.

    The here-document is one line of ASCII for the code and one for the ticket: neither can hold
    the end mark as a line of its own, and the quoted mark keeps the shell from reading them.
    """
    lines = [
        "#!/bin/sh",
        f"exec {shlex.quote(launcher.python)} -I - <<'{_END}'",
        f"ticket = {launcher.ticket or ''!a}",
        f"exec(compile({launcher.code!a}, 'roost-bootstrap', 'exec'))",
        _END,
        "",
    ]
    return "\n".join(lines)
