"""Whether a request that failed has been sent.  Pure."""

from __future__ import annotations

import errno
import socket

from tornado.simple_httpclient import HTTPTimeoutError

_UNSENT = ("in request queue", "while connecting")
"""How tornado's simple client words a timeout before anything was sent."""
_CLOSED_EARLY = "cannot convert to SSL"
"""How its streams word that the other side closed the connection before TLS began."""


def not_sent(error: Exception) -> bool:
    """Tell whether a call failed before anything was sent: to repeat it does nothing twice."""
    if isinstance(error, HTTPTimeoutError):
        return str(error).endswith(_UNSENT)
    if isinstance(error, ValueError) and _CLOSED_EARLY in str(error):
        return True
    if isinstance(error, (ConnectionRefusedError, socket.gaierror)):
        return True
    return isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)
