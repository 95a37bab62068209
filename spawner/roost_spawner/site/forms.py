"""Texts of the site file that have a form: names, paths, URLs.  Pure.

A text that does not fit is refused in words; a pattern is for editors (the JSON Schema), not for
people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints, WithJsonSchema
from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a text: metadata of a ``str``."""

    pattern: str
    """What the whole text must match; of the kind that Python and editors read alike."""
    words: str
    """The same for people, after "it takes"."""

    def check(self, given: str) -> str:
        """Return the text, or refuse it."""
        if not re.fullmatch(self.pattern, given, re.ASCII):
            raise ValueError(f"{given!r} is not allowed here; it takes {self.words}")
        return given

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}


def _url(text: str) -> str:
    url = urlsplit(text)
    if not url.hostname or url.query or url.fragment or url.username:
        raise ValueError(f"{text!r} is no URL of a service; write https://host.example.org/")
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
        raise ValueError(f"{text!r} is not https: secrets would travel in the clear")
    return text.rstrip("/") + "/"


Url = Annotated[
    str,
    AfterValidator(_url),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(https://|http://(localhost|127\.0\.0\.1|\[::1\])(:|/|$))[^\s?#]*$",
        }
    ),
]
Name = Annotated[
    str,
    Form(
        r"[a-z0-9][a-z0-9_-]{0,39}",
        "up to 40 small letters, digits, - and _, the first a letter or digit",
    ),
]
HubId = Annotated[
    str,
    Form(
        r"[a-z0-9][a-z0-9.-]{0,39}",
        "up to 40 small letters, digits, - and dots, the first a letter or digit",
    ),
]
# Goes into submit descriptions and job scripts' options: nothing that either would interpret.
Word = Annotated[
    str,
    Form(
        r"[A-Za-z0-9_(\[][A-Za-z0-9_.,:&|*()\[\]=+@/-]{0,127}",
        "one word of up to 128 letters, digits and _ . , : & | * ( ) [ ] = + @ / -, "
        "the first a letter, a digit or one of _ ( [",
    ),
]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Paragraph = Annotated[str, StringConstraints(max_length=1000, strip_whitespace=True)]
Audience = Annotated[str, Form(r"\S{1,300}", "one word, as the service names itself to the IAM")]
Scope = Annotated[
    str,
    StringConstraints(max_length=500),
    Form(
        r"\S+( \S+)*", "scopes with one blank between them, such as storage.read:/ storage.modify:/"
    ),
]
Icon = Annotated[
    str,
    StringConstraints(max_length=40),
    Form(r"[a-z0-9]+(-[a-z0-9]+)*", "an icon's name without fa-, such as microchip or rocket"),
]
# What Apptainer takes: a file, a folder, or a registry's name with its scheme.
Image = Annotated[
    str,
    StringConstraints(max_length=500),
    Form(
        r"(/|(docker|oras|library|shub)://)\S+",
        "a file or folder by its absolute path, or a registry's name that begins with "
        "docker://, oras://, library:// or shub://",
    ),
]
AbsolutePath = Annotated[str, Form(r"/[^\0\n]*", "an absolute path on the nodes")]
