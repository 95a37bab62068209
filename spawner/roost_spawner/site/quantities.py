"""Amounts that a user may choose within limits: cores, memory, GPUs, time.  Pure."""

# typing.override came with Python 3.12.
# mypy: disable-error-code="explicit-override"

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import core_schema

from roost_spawner.site.units import (
    COUNT_PATTERN,
    DURATION_PATTERN,
    MEMORY_PATTERN,
    parse_count,
    parse_duration,
    parse_memory,
    show_duration,
    show_memory,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler


class Model(BaseModel):
    """Base: frozen, and a key that nobody knows is a mistake, not a wish."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """How an amount is written: metadata of an ``int``."""

    parse: Callable[[object], int]
    show: Callable[[int], str]
    pattern: str
    """Of an amount that is written as text, for editors."""
    words: str
    """How it is written, for people."""
    least: int = 1
    most: int | None = None
    number: bool = False
    """Whether a plain number will do."""

    @property
    def bounds(self) -> str:
        """What is allowed, in words."""
        least = self.show(self.least)
        return f"from {least}" + ("" if self.most is None else f" to {self.show(self.most)}")

    def read(self, given: object) -> int:
        """Return the amount, or refuse it with what is allowed."""
        value = self.parse(given)
        if value < self.least or (self.most is not None and value > self.most):
            raise ValueError(f"{given!r} is not allowed here; it takes {self.bounds}")
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(
        self, _schema: Any, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        text: dict[str, Any] = {"type": "string", "pattern": self.pattern}
        if not self.number:
            return text
        number = {"type": "integer", "minimum": self.least}
        if self.most is not None:
            number["maximum"] = self.most
        return {"anyOf": [number, text]}


def _count(least: int, most: int) -> Unit:
    return Unit(parse_count, str, COUNT_PATTERN, "a whole number", least, most, number=True)


def span(least: int = 1, most: int | None = None) -> Unit:
    """Return how a time is written that lasts from `least` to `most` seconds."""
    return Unit(parse_duration, show_duration, DURATION_PATTERN, "a time, such as 90m", least, most)


_MEMORY = Unit(parse_memory, show_memory, MEMORY_PATTERN, "an amount, such as 2 GiB")
_FEW, _MANY = 1, 4096

GpuCount = Annotated[int, _count(0, _MANY)]
CoreCount = Annotated[int, _count(_FEW, _MANY)]
Memory = Annotated[int, _MEMORY]
Duration = Annotated[int, span()]


class Quantity(Model):
    """An amount the user may choose within limits; written plainly, it is fixed."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        if not isinstance(given, (dict, Quantity)):
            return {"default": given}
        if isinstance(given, dict) and "default" not in given and given.get("choices"):
            choices = given["choices"]
            first = choices[0] if isinstance(choices, (list, tuple)) else choices
            return {**given, "default": first}
        return given

    default: int
    """What one gets who chooses nothing; the first of ``choices`` if left out."""
    max: int | None = None
    """The most that may be chosen."""
    choices: tuple[int, ...] | None = None
    """What may be chosen, instead of ``max``."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.choices is not None and self.max is not None:
            raise ValueError("give either max or choices, not both")
        if self.choices is not None and self.default not in self.choices:
            raise ValueError(
                f"the default {self.show(self.default)} is none of the choices {self.allowed}"
            )
        if self.max is not None and self.default > self.max:
            raise ValueError(
                f"the default {self.show(self.default)} is above its max {self.show(self.max)}"
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> Any:
        # As the validator above has it: plain, or with limits.
        limits = handler.resolve_ref_schema(handler(schema))
        plain = limits["properties"]["default"]
        title, description = limits.pop("title"), limits.pop("description")
        limits.pop("required", None)
        limits["anyOf"] = [{"required": ["default"]}, {"required": ["choices"]}]
        limits["not"] = {"required": ["max", "choices"]}
        for name, setting in limits["properties"].items():
            setting["description"] = Quantity.model_fields[name].description
        alternatives = [
            {key: value for key, value in plain.items() if key not in {"title", "description"}},
            dict(limits),
        ]
        limits.clear()
        limits.update(title=title, description=description, anyOf=alternatives)
        return limits

    @staticmethod
    def show(value: int) -> str:
        """Return a value as people write it."""
        return str(value)

    @staticmethod
    def parse(given: object) -> int:
        """Return what a user gave as a value, or raise ``ValueError``."""
        return parse_count(given)

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return self.limit == self.default if self.choices is None else len(self.choices) == 1

    @property
    def limit(self) -> int:
        """The largest value that may be chosen."""
        return max(self.choices) if self.choices else max(self.max or 0, self.default)

    @property
    def allowed(self) -> str:
        """What may be chosen, in words."""
        if self.choices:
            return ", ".join(self.show(choice) for choice in self.choices)
        return self.show(self.default) if self.fixed else f"up to {self.show(self.limit)}"

    def admits(self, value: int) -> bool:
        """Whether the user may have this much."""
        if self.choices is not None:
            return value in self.choices
        return value == self.default if self.fixed else 0 < value <= self.limit


class CountChoice(Quantity):
    """A number of GPUs."""

    default: GpuCount
    max: GpuCount | None = None
    choices: Annotated[tuple[GpuCount, ...], Field(min_length=1)] | None = None


class CoresChoice(Quantity):
    """A number of cores."""

    default: CoreCount
    max: CoreCount | None = None
    choices: Annotated[tuple[CoreCount, ...], Field(min_length=1)] | None = None


class MemoryChoice(Quantity):
    """An amount of memory, such as ``2 GiB``; kept in MiB."""

    default: Memory
    max: Memory | None = None
    choices: Annotated[tuple[Memory, ...], Field(min_length=1)] | None = None

    show = staticmethod(show_memory)
    parse = staticmethod(parse_memory)


class DurationChoice(Quantity):
    """A span of time, such as ``90m``; kept in seconds."""

    default: Duration
    max: Duration | None = None
    choices: Annotated[tuple[Duration, ...], Field(min_length=1)] | None = None

    show = staticmethod(show_duration)
    parse = staticmethod(parse_duration)
