"""What a hub may ask for: a closed set of fields, each checked, and what becomes of them in Slurm.

Pure.  The limits hold whatever a hub's profiles say; the fields that are not here (arrays, nodes,
users, hooks, environment) cannot be asked for at all.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.slurm import options
from roost_spawner.clusters.slurm.broker.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roost_spawner.clusters.slurm.broker.accounts import Account
    from roost_spawner.clusters.slurm.broker.config import Limits

JOB_NAME = "roost"
MAX_SCRIPT = 48 * 1024

_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MARK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}/[A-Za-z0-9_-]{8,128}")


@dataclass(frozen=True, slots=True)
class Wish:
    """One session's job, checked against the site's limits."""

    script: str = field(repr=False)
    """Holds the session's ticket."""
    mark: str
    partition: str
    cpus: int
    memory_mib: int
    time_minutes: int
    gpus: int = 0
    gpu_type: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


_FIELDS = frozenset(item.name for item in fields(Wish))


def hub_id(value: str) -> str:
    """Return a hub's id if it is one.

    Raises
    ------
    BadRequest
        If it has other characters than an id may have.
    """
    if not _HUB_ID.fullmatch(value):
        raise BadRequest(
            "hub must be a hub_id: up to 63 letters, digits, dots, hyphens and underscores."
        )
    return value


def read(body: object, limits: Limits) -> Wish:
    """Check a request's body.

    Raises
    ------
    BadRequest
        With a sentence that says which field, what was given and what is allowed.
    """
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    unknown = sorted(str(name)[:40] for name in body if name not in _FIELDS)
    if unknown:
        raise BadRequest(
            f"There is no field {', '.join(unknown[:5])}; there are {', '.join(sorted(_FIELDS))}."
        )
    partition = _partition(body, limits.partitions)
    if partition is None:
        raise BadRequest(f"partition is missing; there are {', '.join(limits.partitions)}.")
    gpus = _number(body, "gpus", 0, limits.gpus)
    gpu_type = _choice(body, "gpu_type", limits.gpu_types)
    if gpu_type is not None and not gpus:
        raise BadRequest("gpu_type without gpus: ask for at least one GPU, or for no type.")
    return Wish(
        script=_script(body),
        mark=_mark(body),
        partition=partition,
        cpus=_number(body, "cpus", 1, limits.cpus),
        memory_mib=_number(body, "memory_mib", 1, limits.memory_mib),
        time_minutes=_number(body, "time_minutes", 1, limits.minutes),
        gpus=gpus,
        gpu_type=gpu_type,
        account=_choice(body, "account", limits.accounts),
        qos=_choice(body, "qos", limits.qos),
        constraint=_choice(body, "constraint", limits.constraints),
        reservation=_choice(body, "reservation", limits.reservations),
        options=_options(body, limits.options),
    )


def of_nobody(body: object) -> object:
    """Return a body without script and mark as that of a job that does nothing."""
    return (
        {**body, "script": "#!/bin/sh\n", "mark": "nobody/nothing-at-all"}
        if isinstance(body, dict)
        else body
    )


def _number(body: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = body.get(name, 0 if name == "gpus" else None)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(
            f"{name} is {str(value)[:40]!r}; allowed here is a whole number "
            f"from {least} to {most} ([limits] of the broker)."
        )
    return value


def _choice(body: Mapping[str, Any], name: str, allowed: Sequence[str]) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or value not in allowed:
        listed = f"one of {', '.join(allowed)}" if allowed else "none"
        raise BadRequest(
            f"{name} is {str(value)[:80]!r}; allowed here is {listed} ([limits] of the broker)."
        )
    return value


def _partition(body: Mapping[str, Any], allowed: Sequence[str]) -> str | None:
    """Return a partition, or several that are allowed each (``sbatch(1)``, ``--partition``)."""
    value = body.get("partition")
    parts = value.split(",") if isinstance(value, str) else []
    return (
        value
        if len(parts) > 1 and set(parts) <= {*allowed}
        else _choice(body, "partition", allowed)
    )


def _options(body: Mapping[str, Any], allowed: Sequence[str]) -> Mapping[str, str]:
    given = body.get("options", {})
    if not isinstance(given, dict):
        raise BadRequest("options must be names with values.")
    refused = [str(name)[:60] for name in given if name not in allowed]
    if refused:
        listed = ", ".join(allowed) or "none"
        raise BadRequest(
            f"options has {', '.join(refused[:5])}; allowed here is {listed} "
            "([limits] of the broker)."
        )
    if wrong := options.problem(given):
        raise BadRequest(f"{wrong}.")
    return given


def _script(body: Mapping[str, Any]) -> str:
    script = body.get("script")
    if isinstance(script, str) and script.startswith("#!/") and "\0" not in script:
        # Half a surrogate pair is no text: Slurm could not read it.
        with contextlib.suppress(UnicodeEncodeError):
            if len(script.encode()) <= MAX_SCRIPT:
                return script
    raise BadRequest(f"script must be a text that starts with #!/, up to {MAX_SCRIPT} bytes.")


def _mark(body: Mapping[str, Any]) -> str:
    mark = body.get("mark")
    if not isinstance(mark, str) or not MARK.fullmatch(mark):
        raise BadRequest("mark must be a session mark: <hub_id>/<random id>.")
    return mark


def submission(wish: Wish, account: Account) -> dict[str, Any]:
    """Return the body of slurmrestd's ``job/submit`` (fields of data parser v0.0.42).

    The environment is exactly this list: nothing of slurmrestd's own gets in.  The output goes
    nowhere, since what must be told, the agent tells; and the folder exists on every node.
    """
    job: dict[str, Any] = {
        "name": JOB_NAME,
        "comment": wish.mark,
        "partition": wish.partition,
        "nodes": "1",
        "tasks": 1,
        "cpus_per_task": wish.cpus,
        "memory_per_node": {"set": True, "number": wish.memory_mib},
        "time_limit": {"set": True, "number": wish.time_minutes},
        "requeue": False,
        "current_working_directory": "/",
        "standard_input": "/dev/null",
        "standard_output": "/dev/null",
        "standard_error": "/dev/null",
        "environment": [
            "PATH=/usr/local/bin:/usr/bin:/bin",
            f"HOME={account.home}",
            f"SHELL={account.shell}",
            f"USER={account.name}",
            f"LOGNAME={account.name}",
            "LANG=C.UTF-8",
        ],
    }
    if wish.gpus:
        kind = f"{wish.gpu_type}:" if wish.gpu_type else ""
        job["tres_per_node"] = f"gres/gpu:{kind}{wish.gpus}"
    optional = {
        "account": wish.account,
        "qos": wish.qos,
        "constraints": wish.constraint,
        "reservation": wish.reservation,
    }
    job.update({name: value for name, value in optional.items() if value is not None})
    job.update(options.fields(wish.options))
    return {"script": wish.script, "job": job}
