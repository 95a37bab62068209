"""Whether a request that failed has been sent.  Pure."""

from __future__ import annotations

import errno
import socket

from tornado.simple_httpclient import HTTPTimeoutError

_UNSENT = ("in request queue", "while connecting")
"""How tornado's simple client words a timeout before anything was sent."""


def not_sent(error: Exception) -> bool:
    """Tell whether a call failed before anything was sent: to repeat it does nothing twice."""
    if isinstance(error, HTTPTimeoutError):
        return str(error).endswith(_UNSENT)
    if isinstance(error, (ConnectionRefusedError, socket.gaierror)):
        return True
    return isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)
