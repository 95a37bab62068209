"""Read the site file: line numbers in every refusal.

YAML's own parser gives each node its line; pydantic gives each error its path; together they name
the place.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from roost_spawner.errors import SiteError
from roost_spawner.site import fit
from roost_spawner.site.mistakes import words
from roost_spawner.site.models import Site
from roost_spawner.site.remarks import remarks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Place = tuple[str | int, ...]
Mistake = tuple[int, str]
"""Line and sentence."""


class _Loader(yaml.SafeLoader):
    """YAML without dates and clock times: ``1-12:00`` and ``12:30:00`` stay as written."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# YAML 1.1 reads 12:30:00 as a number to the base 60; only plain decimal numbers are numbers here.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)


def _sentence(path: Path, line: int, place: str, text: str) -> str:
    where = f"{place}: " if place else ""
    return f"{path}, line {line}: {where}{text}"


def _marks(
    node: yaml.Node,
    place: Place,
    marks: dict[Place, int],
    twice: Callable[[int, str], None],
    above: tuple[yaml.Node, ...] = (),
) -> None:
    """Note the line of every key and item below `node`."""
    if node in above:
        raise yaml.MarkedYAMLError(problem="this refers to itself", problem_mark=node.start_mark)
    above = (*above, node)
    marks.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            line = key.start_mark.line + 1
            if name in seen:
                twice(line, ".".join(map(str, (*place, name))))
            seen.add(name)
            marks[(*place, name)] = line
            _marks(value, (*place, name), marks, twice, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _marks(value, (*place, index), marks, twice, above)


def _nearest(place: Iterable[str | int], marks: dict[Place, int]) -> tuple[Place, int]:
    """Return the deepest part of a pydantic error's path that the file has, and its line."""
    known: Place = ()
    for part in place:
        if (*known, part) in marks:
            known = (*known, part)
    return known, marks.get(known, 1)


def _content(text: str, path: Path, marks: dict[Place, int]) -> tuple[Any, list[Mistake]]:
    """Return what YAML makes of a text, and what is given twice; fill `marks`."""
    mistakes: list[Mistake] = []

    def twice(line: int, place: str) -> None:
        mistakes.append((line, _sentence(path, line, place, "this is given twice")))

    try:
        node = yaml.compose(text, Loader=_Loader)
        if not isinstance(node, yaml.MappingNode):
            raise SiteError(
                _sentence(path, 1, "", "the file must hold settings, such as hub_id: mine")
            )
        _marks(node, (), marks, twice)
        return yaml.load(text, Loader=_Loader), mistakes  # noqa: S506 - a SafeLoader with less
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SiteError(
            _sentence(path, line, "", f"this is no YAML: {error.problem or error}")
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SiteError(_sentence(path, 1, "", f"this is no YAML: {error}")) from None


def _parse(text: str, path: Path) -> tuple[Site, dict[Place, int]]:
    marks: dict[Place, int] = {}
    content, mistakes = _content(text, path, marks)
    site = None
    try:
        site = Site.model_validate(content)
    except ValidationError as error:
        found = [(detail["loc"], words(detail)) for detail in error.errors(include_url=False)]
    else:
        found = list(fit.problems(site))
    mistakes += (_located(path, marks, problem) for problem in found)
    if site is None or mistakes:
        raise SiteError("\n".join(sentence for _, sentence in sorted(mistakes)))
    return site, marks


def _located(path: Path, marks: dict[Place, int], problem: fit.Problem) -> Mistake:
    """Return a problem's line, and the sentence that names it."""
    place, line = _nearest(problem[0], marks)
    return line, _sentence(path, line, ".".join(map(str, place)), problem[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SiteError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SiteError(f"{path}: is not UTF-8") from None


def parse_site(text: str, path: Path) -> Site:
    """Return the site that a file's text describes.

    Raises
    ------
    SiteError
        With a line per mistake: file, line, what was given, what is allowed.
    """
    return _parse(text, path)[0]


def load_site(path: Path) -> Site:
    """Read and validate a site file.

    Raises
    ------
    SiteError
        If it cannot be read, or is wrong.
    """
    return parse_site(_text(path), path)


def inspect_site(
    path: Path, further: Callable[[Site], Iterable[fit.Problem]] = lambda _: ()
) -> tuple[Site, list[str]]:
    """Read and validate a site file as an admin wants it read: with what is surely not meant.

    Parameters
    ----------
    path
        The file.
    further
        Yields mistakes that take more than the file to find.

    Returns
    -------
    tuple
        The site, and a sentence for each remark, with file and line.

    Raises
    ------
    SiteError
        If it cannot be read, or is wrong.
    """
    site, marks = _parse(_text(path), path)
    if mistakes := sorted(_located(path, marks, problem) for problem in further(site)):
        raise SiteError("\n".join(sentence for _, sentence in mistakes))
    found = sorted(_located(path, marks, remark) for remark in remarks(site, time.time()))
    return site, [sentence for _, sentence in found]
