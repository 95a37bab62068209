"""The HTTP client for slurmrestd and its broker, whatever else is installed."""

from __future__ import annotations

from tornado.simple_httpclient import SimpleAsyncHTTPClient


def make_client(*, max_clients: int, max_body_size: int) -> SimpleAsyncHTTPClient:
    """Make a client of the class whose errors :mod:`~.sending` knows.

    Where pycurl is installed, JupyterHub makes curl tornado's default: lost connections have other
    errors there, and ``https_proxy`` is obeyed.

    Parameters
    ----------
    max_clients
        Calls at once.
    max_body_size
        Bytes of an answer.
    """
    client = SimpleAsyncHTTPClient(
        force_instance=True, max_clients=max_clients, max_body_size=max_body_size
    )
    assert isinstance(client, SimpleAsyncHTTPClient)
    return client
