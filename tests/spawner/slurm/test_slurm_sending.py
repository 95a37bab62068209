from __future__ import annotations

import errno
import socket
import ssl

import pytest
from roost_spawner.clusters.slurm.sending import not_sent
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        socket.gaierror(),
        OSError(errno.EHOSTUNREACH, "no route"),
        HTTPTimeoutError("Timeout while connecting"),
        HTTPTimeoutError("Timeout in request queue"),
        ValueError("IOStream is not idle; cannot convert to SSL"),
    ],
)
def test_what_never_left_may_be_sent_again(error):
    assert not_sent(error)


@pytest.mark.parametrize(
    "error",
    [
        HTTPTimeoutError("Timeout during request"),
        HTTPStreamClosedError("Stream closed"),
        ConnectionResetError(),
        ssl.SSLEOFError(),
        ValueError("something else"),
    ],
)
def test_of_anything_else_nobody_knows(error):
    assert not not_sent(error)
