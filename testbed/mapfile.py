"""The map of accounts, in the form that hub, access point and broker share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from testbed.layout import Person


def map_file(people: Iterable[Person], issuer: str, domain: str) -> str:
    """Return HTCondor's CERTIFICATE_MAPFILE lines: issuer and subject to account."""
    lines = [
        f"SCITOKENS {issuer},{person.subject} {person.name}@{domain}"
        for person in people
        if person.subject
    ]
    return "\n".join(["# issuer,subject -> account", *lines]) + "\n"
