"""Amounts as people write them: ``2 GiB``, ``90m``, ``1-12:00``.

Pure.  Every parser takes what YAML or a form gives and raises ``ValueError`` with a sentence that
names what was given and what is allowed.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B?)", re.IGNORECASE | re.ASCII)
# Batch systems count memory in powers of two whichever letter is written (sbatch(1), --mem;
# HTCondor manual, request_memory), so GB and GiB are the same here.
_MIB = {"k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0 * 1024}
_UNIT = "d(?:ays?)?|h(?:ours?|rs?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?"
_SPAN = re.compile(rf"(?:\d+\s*(?:{_UNIT})\s*)+", re.IGNORECASE | re.ASCII)
_PART = re.compile(r"(\d+)\s*([dhms])", re.IGNORECASE | re.ASCII)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
# sbatch(1), --time: "days-hours", "days-hours:minutes", "hours:minutes:seconds".
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d\d))?(?::(\d\d))?", re.ASCII)
_PORTS = re.compile(r"(\d+)\s*-\s*(\d+)", re.ASCII)

_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d?\d)(:\d\d(?::\d\d)?)(?: ?(Z|[+-]\d\d:?\d\d)| ([A-Za-z][\w+/-]*))?",
    re.ASCII,
)

# The same for editors, whose regular expressions know no flags: of times, the short forms.
MEMORY_PATTERN = r"^\s*\d+(\.\d+)?\s*[KkMmGgTt][Ii]?[Bb]?\s*$"
DURATION_PATTERN = r"^\s*((\d+\s*[DdHhMmSs]\s*)+|\d+-\d+(:\d\d){0,2}|\d+:\d\d:\d\d)\s*$"
COUNT_PATTERN = r"^\s*\d{1,6}\s*$"
PORTS_PATTERN = r"^\s*\d+\s*-\s*\d+\s*$"
MOMENT_PATTERN = (
    r"^\s*\d{4}-\d\d-\d\d[ T]\d?\d:\d\d(:\d\d)?"
    r"( ?(Z|[+-]\d\d:?\d\d)| [A-Za-z][A-Za-z0-9_+/-]*)?\s*$"
)

MEMORY_FORM = "an amount with a unit, such as 2 GiB or 512 MiB"
DURATION_FORM = "a time such as 30s, 90m, 12h, 1d 12h or 1-12:00"
MOMENT_FORM = (
    "2026-12-01 08:00 by the hub's clock, or with a zone: 2026-12-01 08:00 Europe/Berlin, "
    "2026-12-01 08:00 +01:00"
)
PORTS_FORM = "two ports from 1024 to 65535, the first not above the last, such as 40000-49999"


_LONGEST = 64
"""Characters of an amount; whoever writes more means none."""
_MOST_MIB = 1 << 40
"""1 EiB."""
_MOST_SECONDS = 100 * 366 * 86400
_MOST = 10**9


def _written(given: object) -> str:
    """Return what was written, bare; empty if that can be no amount."""
    return given.strip() if isinstance(given, str) and len(given) <= _LONGEST else ""


def _wrong(given: object, words: str) -> ValueError:
    try:
        shown = repr(given)
    except ValueError:  # Python shows no whole number of more than 4,300 digits
        shown = "That"
    return ValueError(f"{shown if len(shown) <= _LONGEST else shown[:_LONGEST] + '…'} {words}")


def parse_memory(given: object) -> int:
    """Return an amount of memory in MiB, rounded up.

    Parameters
    ----------
    given
        Text with a unit.  A bare number is refused: nobody agrees on what it counts.
    """
    match = _MEMORY.fullmatch(_written(given))
    if not match or match[2][:1].lower() not in _MIB:
        raise _wrong(given, f"is no amount of memory; write {MEMORY_FORM}")
    exact = float(match[1]) * _MIB[match[2][0].lower()]
    mib = math.ceil(exact)
    if not 1 <= mib <= _MOST_MIB:
        raise _wrong(given, f"is no amount of memory; write {MEMORY_FORM}")
    return mib


def parse_duration(given: object) -> int:
    """Return a time span in seconds."""
    text = _written(given)
    seconds = 0
    if _SPAN.fullmatch(text):
        seconds = sum(int(n) * _SECONDS[unit.lower()] for n, unit in _PART.findall(text))
    elif (match := _CLOCK.fullmatch(text)) and (match[1] or match[4]):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if not 1 <= seconds <= _MOST_SECONDS:
        raise _wrong(given, f"is no span of time; write {DURATION_FORM}")
    return seconds


def parse_count(given: object) -> int:
    """Return a whole number that may come as text from a form."""
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) <= _MOST:
        return given
    if isinstance(given, str) and re.fullmatch(r"\s*\d{1,6}\s*", given, re.ASCII):
        return int(given)
    raise _wrong(given, "is no whole number")


def parse_ports(given: object) -> tuple[int, int]:
    """Return first and last port of a range."""
    match = _PORTS.fullmatch(_written(given))
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1024 <= first <= last <= 65535:
        raise _wrong(given, f"is no range of ports; write {PORTS_FORM}")
    return first, last


def parse_moment(given: object) -> datetime:
    """Return a date with its time, aware of its zone: the one that is written, or the hub's own."""
    match = _MOMENT.fullmatch(_written(given))
    try:
        if match is None:
            raise ValueError
        date, hour, rest, offset, zone = match.groups()
        moment = datetime.fromisoformat(f"{date} {hour:0>2}{rest}{offset or ''}")
        return moment.replace(tzinfo=ZoneInfo(zone)) if zone else moment.astimezone()
    except (ValueError, OverflowError):
        raise _wrong(given, f"is no date with a time; write {MOMENT_FORM}") from None
    except (KeyError, OSError):
        raise _wrong(given, "names a time zone that is not known here") from None


def show_moment(moment: datetime) -> str:
    """Return a moment as :func:`parse_moment` takes it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def show_memory(value: int) -> str:
    """Return MiB in the largest unit that stays exact."""
    for size, unit in ((1024 * 1024, "TiB"), (1024, "GiB")):
        if value % size == 0:
            return f"{value // size} {unit}"
    return f"{value} MiB"


def show_duration(value: int) -> str:
    """Return seconds as :func:`parse_duration` takes them."""
    parts = []
    for unit, size in _SECONDS.items():
        count, value = divmod(value, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"
