"""Mistakes in a site file, in words: what was given, what is allowed.  Pure."""

from __future__ import annotations

from difflib import get_close_matches
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from roost_spawner.site.models import Site

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pydantic_core import ErrorDetails

_MANY = 8
"""Names that are too many to list where one of them is near."""
_TABLE = "{given} cannot stand here; write settings below this, as name: value"
_ONE_OF = "{given} is not allowed here; it takes {expected}"
# By the type of pydantic's error.
_WORDS = {
    "missing": "{name!r} is missing",
    "union_tag_not_found": "'kind' is missing; it is one of: htcondor, slurm",
    "union_tag_invalid": "{tag!r} is not allowed here; kind is one of: htcondor, slurm",
    "too_short": "this must not be empty",
    "string_too_short": "this must not be empty",
    "string_too_long": "this has {length} characters; up to {max_length} are allowed",
    "string_type": "{given} is not text; put it in quotes",
    "literal_error": _ONE_OF,
    "enum": _ONE_OF,
    "path_type": "{given} is no path; put it in quotes",
    "invalid_key": "{given} is not text; put it in quotes",
    "tuple_type": "{given} is no list; write one, such as [a, b]",
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
}
_OTHER = "{given} is not allowed here: {said}"


def no_such(what: str, given: str, known: Collection[str]) -> str:
    """Return that there is nothing of a name, what may have been meant, and what there is."""
    near = get_close_matches(given, known, n=1)
    said = [f"there is no {what} {given!r}"]
    if not near or len(known) <= _MANY:
        said.append(f"there are: {', '.join(known) or 'none'}")
    if near:
        said.append(f"did you mean {near[0]!r}?")
    return "; ".join(said)


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the types that a value of an annotation may have."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    elif annotation is not type(None):
        yield annotation


def _below(annotation: Any, step: str | int) -> Any:
    """Return the annotation of what is below a value, one step of a pydantic error's path on."""
    parts = list(_parts(annotation))
    if len(parts) > 1:  # the step says which of them it is, by its kind
        return next(
            part for part in parts if step in get_args(part.model_fields["kind"].annotation)
        )
    (part,) = parts
    if isinstance(part, type) and issubclass(part, BaseModel):
        return part.model_fields[str(step)].annotation
    return get_args(part)[1 if get_origin(part) is dict else 0]


def settings_at(place: Collection[str | int]) -> list[str]:
    """Return which settings there are at a place of the file, a pydantic error's path."""
    here: Any = Site
    for step in place:
        here = _below(here, step)
    (model,) = _parts(here)
    return list(model.model_fields)


def words(error: ErrorDetails) -> str:
    """Return what is wrong, and what would be right."""
    place, given, said = error["loc"], error["input"], error["msg"]
    name = str(place[-1]) if place else ""
    if error["type"] == "extra_forbidden":
        return no_such("setting", name, settings_at(place[:-1]))
    if error["type"] == "missing" and name == "cluster":
        return "'cluster' is missing; name one of those under clusters"
    if error["type"] == "value_error":
        return said.removeprefix("Value error, ")
    facts = {
        **error.get("ctx", {}),
        "name": name,
        "given": repr(given) if isinstance(given, (str, int, float, bool)) else "what stands here",
        "length": len(given) if isinstance(given, str) else 0,
        "said": f"{said[0].lower()}{said[1:]}",
    }
    return _WORDS.get(error["type"], _OTHER).format(**facts)
