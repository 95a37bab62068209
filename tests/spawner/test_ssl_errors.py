"""Errors of one TLS connection stay its own."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from roost_spawner import ssl_errors

pytestmark = pytest.mark.unit

SCRIPT = Path(__file__).parents[1] / "support/broken_pipe.py"


def test_a_connection_that_breaks_does_not_end_the_others():
    command = [sys.executable, str(SCRIPT), "contained"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "SSLWantReadError"


def test_every_context_of_the_process_makes_contained_sockets(monkeypatch):
    monkeypatch.setattr(ssl.SSLContext, "sslsocket_class", ssl.SSLContext.sslsocket_class)
    ssl_errors.contain_errors()
    assert ssl.create_default_context().sslsocket_class is ssl_errors.ContainedSocket


def test_a_broken_connection_says_so_and_the_queue_is_cleared(monkeypatch):
    cleared = []
    monkeypatch.setattr(ssl_errors, "_clear", lambda: cleared.append(1))

    def refused(error):
        raise error

    for error, expected in (
        (BrokenPipeError(32, "Broken pipe"), 1),
        (ssl.SSLWantReadError(2, "read"), 0),
    ):
        cleared.clear()
        with pytest.raises(type(error)):
            ssl_errors._contained(refused)(error)
        assert len(cleared) == expected
