"""A TLS connection that breaks while another is idle; also run by other Pythons, by path.

Prints what a read of the idle one gives: ``SSLWantReadError``, if the two are kept apart.
"""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

_MODULE = Path(__file__).resolve().parents[2] / "spawner/roost_spawner/ssl_errors.py"


def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/key", f"{folder}/certificate"
        names = ["-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=localhost"]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names],
            check=True,
            capture_output=True,
        )
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    return server, client


def _pair(
    listener: socket.socket, server: ssl.SSLContext, client: ssl.SSLContext
) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    found: list[ssl.SSLSocket] = []

    def connect() -> None:
        found.append(client.wrap_socket(socket.create_connection(listener.getsockname())))

    thread = threading.Thread(target=connect)
    thread.start()
    accepted = server.wrap_socket(listener.accept()[0], server_side=True)
    thread.join()
    accepted.settimeout(0)
    return accepted, found[0]


def read_beside_a_broken_one() -> str:
    """Return what a read of an idle connection raises after another one has broken."""
    server, client = _contexts()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        broken, gone = _pair(listener, server, client)
        idle, other = _pair(listener, server, client)
        for each in (broken, gone, idle, other):
            stack.enter_context(each)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()  # with a reset
        end, failed = time.monotonic() + 10, 0
        while failed < 2 and time.monotonic() < end:
            try:
                broken.send(b"to nobody")
            except OSError:
                failed += 1
        try:
            return repr(idle.recv(10))
        except OSError as error:
            return type(error).__name__


if __name__ == "__main__":
    if "contained" in sys.argv:
        spec = importlib.util.spec_from_file_location("ssl_errors", _MODULE)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        module.contain_errors()
    print(read_beside_a_broken_one())
