"""The directive ``site-settings``: what a model of the site file takes, as a table."""

from __future__ import annotations

import enum
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from roost_spawner.site import announcements, extras, forms, models
from roost_spawner.site.quantities import Model, Quantity, Unit
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

_HEAD = "| setting | takes | if left out | |\n| --- | --- | --- | --- |\n"
# Where a type's own words say less than these.
_WORDS: tuple[tuple[Any, str], ...] = (
    (forms.Url, "an `https` URL"),
    (forms.Word, "one word"),
    (forms.Name, "a name of small letters, digits, `-` and `_`"),
    (forms.Line, "text of up to 200 characters"),
    (forms.Paragraph, "text of up to 1000 characters"),
    (models.Ports, "two ports, such as `40000-49999`"),
    (announcements.Moment, "a date with a time"),
    (extras.Environment, "`NAME: value`"),
    (extras.Extras, "`name: value`"),
    (extras.Prologue, "lines of shell"),
)
_MANY = {tuple: "a list: ", dict: "`name:` "}
_SECTIONS = {
    "Cluster": "clusters",
    "Profile": "profiles",
    "Defaults": "defaults",
    "TokenWish": "tokens",
    "Announcement": "announcements",
    "Watch": "watch",
}


def table(model: type[Model]) -> str:
    """Return the Markdown of a model's table: a row for each setting, in the code's order."""
    hints = get_type_hints(model, include_extras=True)
    return _HEAD + "".join(_row(model, name, hints[name]) for name in model.model_fields)


def _row(model: type[Model], name: str, annotation: Any) -> str:
    field = model.model_fields[name]
    if field.is_required():
        default = "required"
    else:
        shown = getattr(field.default, "value", field.default)
        default = f"`{shown}`" if isinstance(shown, str) and shown else ""
    does = " ".join((field.description or "").split()).replace("``", "`")
    cells = (f"`{name}`", takes(annotation), default, does)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def takes(annotation: Any) -> str:
    """Return in words what a setting of a type takes."""
    for known, words in _WORDS:
        if annotation == known:
            return words
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return takes(next(part for part in parts if part is not type(None)))
    if origin is Annotated:
        said = [_said(part) for part in parts[1:]]
        return next(filter(None, said), "") or takes(parts[0])
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in _MANY:
        return _MANY[origin] + takes(parts[origin is dict])
    return _class(annotation)


def _said(metadata: Any) -> str:
    """Return what a type's metadata says of it; empty if nothing."""
    if isinstance(metadata, forms.Form):
        return metadata.words
    if isinstance(metadata, Unit):
        return f"{metadata.words}; {metadata.bounds}"
    return ""


def _class(kind: type) -> str:
    if issubclass(kind, Quantity):
        return "a [quantity](#quantities): " + takes(
            get_type_hints(kind, include_extras=True)["default"]
        )
    if issubclass(kind, Model):
        name = kind.__name__
        return f"settings, [see below](#{_SECTIONS.get(name, 'clusters')})"
    if issubclass(kind, enum.StrEnum):
        return " or ".join(f"`{value}`" for value in kind)
    if issubclass(kind, Path):
        return "a path on the hub's host"
    raise TypeError(f"no words for {kind}")


class SiteSettings(SphinxDirective):
    """``{site-settings} Profile``: the table of a model of ``roost_spawner.site.models``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return self.parse_text_to_nodes(table(getattr(models, self.arguments[0])))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("site-settings", SiteSettings)
    return {"parallel_read_safe": True}
