"""What an admin adds to the jobs of a profile: variables, shell lines, raw submit commands.

What of it would override ours is refused here, with the place in the file: the families say so for
submit commands and options.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from roost_spawner.clusters.htcondor import submit as htcondor
from roost_spawner.clusters.slurm import submit as slurm

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_EXTRAS, _MAX_VARIABLES = 50, 200
_MAX_VALUE, _MAX_PROLOGUE = 4096, 16 * 1024

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_OURS = re.compile(r"JUPYTERHUB_.*|JPY_.*|ROOST_.*|BEARER_TOKEN.*")
# What the batch system sets says where the job is and what of the node is its own.
_THEIRS = re.compile(r"_CONDOR_.*|SLURM_.*|SBATCH_.*|XDG_RUNTIME_DIR|JUPYTER_RUNTIME_DIR")


def _text(name: str, given: Any, *, words: bool) -> str:
    """Return a value as text; YAML has its own mind about what 1.10 and yes are."""
    if isinstance(given, bool) and words:
        return str(given).lower()
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    if not isinstance(given, str):
        # pydantic turns a ValueError, and no TypeError, into a refusal
        raise ValueError(f"the value of {name} must be text; put it in quotes")  # noqa: TRY004
    if len(given) > _MAX_VALUE or not given.isprintable():
        raise ValueError(
            f"the value of {name} must be one line of printable characters, "
            f"up to {_MAX_VALUE} of them"
        )
    return given


def _table(given: Any, what: str, limit: int, *, words: bool) -> dict[str, str]:
    if not isinstance(given, dict) or len(given) > limit:
        raise ValueError(f"write {what} as name: value, up to {limit} of them")
    return {str(name): _text(str(name), value, words=words) for name, value in given.items()}


def _extras(given: Any) -> Any:
    return _table(given, "these", _MAX_EXTRAS, words=True)


def _environment(given: Any) -> Any:
    table = _table(given, "variables", _MAX_VARIABLES, words=False)
    for name in table:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(
                f"{name!r} is no name of a variable; it may have letters, digits and underscores"
            )
        if _OURS.fullmatch(name):
            raise ValueError(
                f"{name} is set by the hub for each session; all but JUPYTERHUB_*, JPY_*, "
                "ROOST_* and BEARER_TOKEN* may be set here"
            )
        if _THEIRS.fullmatch(name):
            raise ValueError(f"{name} is set by the batch system or the agent for each job")
    return table


def _prologue(text: str) -> str:
    if len(text) > _MAX_PROLOGUE:
        raise ValueError(
            f"these shell lines have {len(text)} characters; up to {_MAX_PROLOGUE} are allowed: "
            "put them into a script on the nodes and source it here"
        )
    if any(not (letter.isprintable() or letter in "\n\t") for letter in text):
        raise ValueError("these shell lines hold characters that cannot be printed")
    return text.strip("\n")


Extras = Annotated[
    dict[str, str],
    BeforeValidator(_extras),
    WithJsonSchema(
        {"type": "object", "additionalProperties": {"type": ["string", "integer", "boolean"]}}
    ),
]
Environment = Annotated[
    dict[str, str],
    BeforeValidator(_environment),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{_VARIABLE.pattern}$"},
            "additionalProperties": {"type": ["string", "integer"]},
        }
    ),
]
Prologue = Annotated[str, AfterValidator(_prologue)]


def extras_problem(kind: str, extras: Mapping[str, str]) -> str | None:
    """Return what is wrong with raw submit commands or options, in a sentence; None if nothing.

    Parameters
    ----------
    kind
        The cluster's: ``htcondor`` or ``slurm``.
    extras
        By name, as the site file has them.
    """
    if kind == "htcondor":
        return htcondor.extras_problem(extras)
    return slurm.extras_problem(extras)
