"""Errors of one TLS connection, kept from the others of the same thread.

Since Python 3.13.1 a read or write that the system refuses (the other side is gone) leaves its
error in OpenSSL's queue (``PySSL_SetError`` in ``Modules/_ssl.c``).  With anything in that queue
the next call, on whatever connection, is taken to have failed too (OpenSSL's manual,
SSL_get_error).  A browser that goes away in the middle of an answer would so end the requests of
others.
"""

from __future__ import annotations

import functools
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class ContainedSocket(ssl.SSLSocket):
    """A TLS socket that leaves OpenSSL's queue of errors as it should be: empty."""


def contain_errors() -> None:
    """Have all TLS sockets that this process makes from now on keep their errors to themselves."""
    ssl.SSLContext.sslsocket_class = ContainedSocket


def _contained(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def contained(*arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except OSError as error:
            if not isinstance(error, ssl.SSLError):  # those are cleared away by ssl itself
                _clear()
            raise

    return contained


def _clear() -> None:
    """Empty the queue: ssl does so itself after a list of ciphers that holds none."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers("none")
    except ssl.SSLError:
        return


for _name in ("read", "write", "send", "do_handshake", "unwrap"):
    setattr(ContainedSocket, _name, _contained(getattr(ssl.SSLSocket, _name)))
