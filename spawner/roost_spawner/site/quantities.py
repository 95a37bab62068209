"""Amounts that a user may choose within limits: cores, memory, GPUs, time.  Pure."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from roost_spawner.site.units import (
    parse_count,
    parse_duration,
    parse_memory,
    show_duration,
    show_memory,
)

Count = Annotated[int, BeforeValidator(parse_count)]
Memory = Annotated[int, BeforeValidator(parse_memory)]
Duration = Annotated[int, BeforeValidator(parse_duration)]


class Model(BaseModel):
    """Base: frozen, and a key that nobody knows is a mistake, not a wish."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(Model):
    """An amount the user may choose within limits; written plainly, it is fixed."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        if isinstance(given, (str, int)) and not isinstance(given, bool):
            return {"default": given}
        if isinstance(given, dict) and "default" not in given and given.get("choices"):
            return {**given, "default": given["choices"][0]}
        return given

    default: int
    max: int | None = None
    choices: tuple[int, ...] | None = None

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
    """A number of cores or GPUs."""

    default: Annotated[Count, Field(ge=0, le=4096)]
    max: Annotated[Count, Field(ge=1, le=4096)] | None = None
    choices: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None


class MemoryChoice(Quantity):
    """An amount of memory in MiB."""

    default: Memory
    max: Memory | None = None
    choices: Annotated[tuple[Memory, ...], Field(min_length=1)] | None = None

    show = staticmethod(show_memory)
    parse = staticmethod(parse_memory)


class DurationChoice(Quantity):
    """A span of time in seconds."""

    default: Duration
    max: Duration | None = None
    choices: Annotated[tuple[Duration, ...], Field(min_length=1)] | None = None

    show = staticmethod(show_duration)
    parse = staticmethod(parse_duration)
