"""Sentences that an admin puts on everybody's pages, for a time.  Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from roost_spawner.site.forms import Line  # noqa: TC001 - pydantic evaluates the annotations
from roost_spawner.site.quantities import Model
from roost_spawner.site.units import MOMENT_PATTERN, parse_moment, show_moment


def _moment(given: Any) -> Any:
    if isinstance(given, datetime):
        return given if given.tzinfo else given.astimezone()
    return parse_moment(given)


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "pattern": MOMENT_PATTERN}),
]


class Announcement(Model):
    """A sentence on the pages of everybody, for a time."""

    text: Line
    """The sentence."""
    level: Literal["info", "warning"] = "info"
    """How it looks."""
    starts: Moment | None = None
    """From when on it is shown: ``2026-12-01 08:00`` by the hub's clock, or with a zone behind it
    (``Europe/Berlin``, ``+01:00``, ``UTC``); at once, if left out."""
    ends: Moment | None = None
    """Until when it is shown, written likewise; until it is taken out, if left out."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.starts and self.ends and self.ends <= self.starts:
            raise ValueError(
                f"it ends at {show_moment(self.ends)}, and starts only at "
                f"{show_moment(self.starts)}; ends must come after starts"
            )
        return self
