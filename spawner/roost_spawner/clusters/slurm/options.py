"""Options of ``sbatch`` that a profile may add to a session's job.  Pure.

A closed list, by the long names of sbatch(1), each with its field in slurmrestd's ``job/submit``
(data parser v0.0.42).  What says how a session is submitted, named, limited, requeued or where its
output goes is ours, and not in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,:&|*()\[\]@=+-]{0,255}")
_CONVERT: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "list": lambda text: text.split(","),
        "number": int,
        "signal": lambda text: int(text.rpartition("@")[2]),
        "word": str,
    }
)
_NUMBER = re.compile(r"[0-9]{1,9}")
_SIGNAL = re.compile(r"B:TERM@([1-9][0-9]{0,3})")
"""To the agent alone (``B:``), so that the server lives on while people save.  Slurm sends it up to
a minute earlier than so many seconds before the end (sbatch(1))."""
_KINDS: Mapping[str, tuple[re.Pattern[str], str]] = MappingProxyType(
    {
        "list": (_WORD, "a word as sbatch takes it"),
        "number": (_NUMBER, "a whole number"),
        "signal": (_SIGNAL, "B:TERM@ and seconds, as B:TERM@30"),
        "word": (_WORD, "a word as sbatch takes it"),
    }
)


@dataclass(frozen=True, slots=True)
class Option:
    """Where an option goes, and what its value is: a kind of :data:`_KINDS`."""

    field: str
    kind: str = "word"


OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "exclude": Option("excluded_nodes", "list"),
        "licenses": Option("licenses"),
        "mcs-label": Option("mcs_label"),
        "network": Option("network"),
        "nice": Option("nice", "number"),
        "nodelist": Option("required_nodes", "list"),
        "prefer": Option("prefer"),
        "signal": Option("kill_warning_delay", "signal"),
        "threads-per-core": Option("threads_per_core", "number"),
        "tmp": Option("temporary_disk_per_node", "number"),
        "wckey": Option("wckey"),
    }
)


def problem(options: Mapping[str, Any]) -> str | None:
    """Return what is wrong with options, in a sentence; None if nothing."""
    for name, value in options.items():
        option = OPTIONS.get(name)
        if option is None:
            allowed = ", ".join(OPTIONS)
            return f"{str(name)[:60]} cannot be set here; allowed are {allowed}"
        pattern, wanted = _KINDS[option.kind]
        if not isinstance(value, str) or not pattern.fullmatch(value):
            return f"the value of {name} must be {wanted}; it is {str(value)[:60]!r}"
    return None


def fields(options: Mapping[str, str]) -> dict[str, Any]:
    """Return what options that have passed come to in ``job/submit``."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        option = OPTIONS[name]
        if option.kind == "signal":
            found |= {"kill_warning_signal": "TERM", "kill_warning_flags": ["BATCH_JOB"]}
        found[option.field] = _CONVERT[option.kind](value)
    return found
