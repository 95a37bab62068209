"""Submit commands that a profile may add, and what each of them takes.  Pure.

HTCondor's library turns most mistakes down when it makes the job's ad.  Some it takes: with
``request_disk = lots`` the job asks for an attribute that nobody has, and waits for ever.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Takes(enum.Enum):
    """What a command takes, in words for an admin."""

    TEXT = "text"
    EXPRESSION = "a ClassAd expression"
    WHOLE = "a whole number, such as 10"
    TRUTH = "true or false"
    SIZE = "an amount, such as 500MB or 2GB"
    COUNT = "a number without a unit, such as 1048576"
    VERSION = "a version, such as 8.6"


# What these do stays within the job and its match.  Everything else is either ours (what runs, how
# it ends, what it proves) or makes the access point act for the user (files, logs, notifications).
EXTRA_COMMANDS: Mapping[str, Takes] = {
    "accounting_group": Takes.TEXT,
    "batch_name": Takes.TEXT,
    "concurrency_limits": Takes.TEXT,
    "cuda_version": Takes.VERSION,
    "gpus_maximum_capability": Takes.VERSION,
    "gpus_minimum_capability": Takes.VERSION,
    "gpus_minimum_memory": Takes.SIZE,
    "gpus_minimum_runtime": Takes.VERSION,
    "job_machine_attrs": Takes.TEXT,
    "nice_user": Takes.TRUTH,
    "priority": Takes.WHOLE,
    "rank": Takes.EXPRESSION,
    "request_disk": Takes.SIZE,
    "require_gpus": Takes.EXPRESSION,
    "requirements": Takes.EXPRESSION,
    "stack_size": Takes.COUNT,
    "use_oauth_services": Takes.TEXT,
    "want_graceful_removal": Takes.TRUTH,
}
"""By name; HTCondor's commands know no upper and lower case."""

_LITERALS: Mapping[Takes, re.Pattern[str]] = {
    Takes.TEXT: re.compile(r".*"),
    Takes.WHOLE: re.compile(r"[+-]?[0-9]{1,9}"),
    Takes.TRUTH: re.compile(r"true|false|0|1", re.IGNORECASE),
    Takes.SIZE: re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})? ?(?:[KMGT]B?)?", re.IGNORECASE),
    Takes.COUNT: re.compile(r"[0-9]{1,15}"),
    Takes.VERSION: re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?"),
}
_COMPUTED = frozenset((Takes.TRUTH, Takes.SIZE, Takes.COUNT))
"""What may also be an expression, such as ``RequestMemory * 2``."""
_ATTRIBUTE, _OPERATOR = re.compile(r"[A-Za-z_]"), re.compile(r"[-+*/%?()<>=!&|]")
_CLOSEST = 80
"""Characters of a wrong value that are shown."""


def takes(name: str) -> Takes:
    """Return what a command takes; attributes (``+Name``) are expressions."""
    return EXTRA_COMMANDS.get(name.lower(), Takes.EXPRESSION)


def problem(name: str, value: str) -> str | None:
    """Return what is wrong with a command's value, in a sentence; None if nothing.

    Whether an expression is one can only be told by HTCondor's parser: see :func:`expressions`.
    """
    kind = takes(name)
    if kind is Takes.EXPRESSION or _LITERALS[kind].fullmatch(value.strip()):
        return None
    if kind in _COMPUTED and _ATTRIBUTE.search(value) and _OPERATOR.search(value):
        return None
    return wrong(name, value)


def wrong(name: str, value: str) -> str:
    """Return the sentence for a value that a command does not take."""
    shown = value if len(value) <= _CLOSEST else f"{value[: _CLOSEST - 1]}…"
    kind = takes(name)
    if kind is Takes.TEXT:
        return f"{name} is {shown!r}, which HTCondor does not take"
    if kind is Takes.EXPRESSION:
        return f"{name} is {shown!r}, which is no ClassAd expression (text needs double quotes)"
    return f"{name} is {shown!r}; allowed is {kind.value}"


def expressions(extras: Mapping[str, str]) -> dict[str, str]:
    """Return those commands whose values are ClassAd expressions."""
    return {
        name: value
        for name, value in extras.items()
        if (kind := takes(name)) is Takes.EXPRESSION
        or (kind in _COMPUTED and not _LITERALS[kind].fullmatch(value.strip()))
    }


def blamed(said: str, extras: Mapping[str, str]) -> list[str]:
    """Return which commands HTCondor's library means, when it says why it makes no job of them.

    Parameters
    ----------
    said
        Its words: ``Parse error in expression: Rank = Memory +``, ``priority=high is invalid``.
    extras
        The commands.
    """
    words = {word.replace("_", "").lower() for word in re.findall(r"\w+", said)}
    named = [name for name in extras if _bare(name) in words]
    return [name for name in named if extras[name] in said] or named


def _bare(name: str) -> str:
    return re.sub(r"^(?:\+|my\.)|_", "", name.lower())
