"""What a user copies for support when a start has failed.  Pure; holds no secret."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roost_spawner.record import Record

_BLANK = "[blanked]"
# Each begins at the start of a word or line only, so that a long text takes no longer than it must.
_SECRETS = (
    # PEM (RFC 7468), also where its begin is cut off.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [^\n]*|\Z)", re.DOTALL), _BLANK),
    (re.compile(r"^[ \t]*[A-Za-z0-9+/]{40,}={0,2}[ \t]*$", re.MULTILINE), _BLANK),
    # Three parts of base64url, the first of which is JSON (RFC 7519, section 3).
    (re.compile(r"(?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]*"), _BLANK),
    # HTTP: "Authorization: Bearer ...", cookies, user:password@host, OAuth's code and state.
    (re.compile(r"(?i)\b(authorization|cookie)(['\"]?\s*[:=]\s*).+"), rf"\1\2{_BLANK}"),
    (re.compile(r"(?i)\b(bearer|basic|token)(\s+)(?=\S*\d)[\w.~+/=-]{12,}"), rf"\1\2{_BLANK}"),
    (re.compile(r"(://[^/\s:@]{1,80}:)[^/\s@]+@"), rf"\1{_BLANK}@"),
    (re.compile(r"([?&](?:code|state)=)[^\s&'\"]+"), rf"\1{_BLANK}"),
    # Named: token=..., "access_token": "...", JUPYTERHUB_API_TOKEN=...
    (
        re.compile(
            r"(?i)(?<![\w-])([\w-]{0,60}(?:token|secret|passwor[dt]|passwd|ticket|api_?key|_xsrf))"
            r"(['\"]?\s*[=:]\s*['\"]?)(?=[^\s'\"&,;]{6})[^\s'\"&,;]+"
        ),
        rf"\1\2{_BLANK}",
    ),
    # What chance has made: long and hexadecimal, or long with digits and both cases.
    (re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{32,}(?![0-9A-Za-z])"), _BLANK),
    (
        re.compile(r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{32,}={0,2}"),
        _BLANK,
    ),
)
_STEPS = ("asked_at", "queued_at", "began_at", "ready_at", "over_at")


def blank(text: str) -> str:
    """Return a text without what looks like a token, a key or a password.

    Rather a harmless word too many is blanked than a secret told.
    """
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def support_text(record: Record, sentence: str, *, tail: str = "", software: str = "") -> str:
    """Return what somebody who helps needs to know of a session that failed.

    Parameters
    ----------
    record
        The session's.
    sentence
        What its user was told.
    tail
        The server's last lines.
    software
        What the hub runs, with versions.

    Returns
    -------
    str
        Lines of text; times are UTC.  What is not known is left out.
    """
    stands = f"{record.state}, {record.cause}" if record.cause else str(record.state)
    facts = {
        "session": record.mark,
        "cluster": record.cluster,
        "profile": record.profile,
        "chosen": record.asked_profile,
        "job": record.job_id,
        "node": record.node,
        "slot": record.slot,
        "state": stands,
        **{step.removesuffix("_at"): _utc(getattr(record, step)) for step in _STEPS},
        "said": " ".join(blank(sentence).split()),
        "hub": software,
    }
    lines = [f"{name:<8} {value}" for name, value in facts.items() if value]
    if tail:
        lines += ["the server's last lines:", *(f"  {line}" for line in blank(tail).splitlines())]
    return "\n".join(lines)


def _utc(at: float) -> str:
    if not at:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
