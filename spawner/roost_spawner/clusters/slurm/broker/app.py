"""The broker's program: ``roost-slurm-broker --config /etc/roost/broker.toml``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import ssl
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from roost_authenticator.mapfile import MapFile
from roost_shepherd.keys import TokenVerifier
from tornado.httpserver import HTTPServer

from roost_spawner.clusters.slurm.broker import config as settings
from roost_spawner.clusters.slurm.broker.accounts import Accounts
from roost_spawner.clusters.slurm.broker.errors import ConfigError
from roost_spawner.clusters.slurm.broker.handlers import MAX_BODY, application
from roost_spawner.clusters.slurm.broker.service import Broker
from roost_spawner.clusters.slurm.broker.slurmrest import SlurmRest
from roost_spawner.ssl_errors import contain_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tornado import web

    from roost_spawner.clusters.slurm.broker.config import Config

log = logging.getLogger("roost.broker")

_GRACE = 5.0
"""Seconds that requests under way get when the broker is stopped."""
_BODY_TIMEOUT = 10.0
_IDLE_TIMEOUT = 120.0


def tls_context(config: Config) -> ssl.SSLContext:
    """Return the server's side of TLS.

    Raises
    ------
    ConfigError
        If certificate or key cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls_certificate {config.tls_certificate} with tls_key {config.tls_key} "
            f"cannot be used: {error}."
        ) from None
    return context


def build(config: Config) -> tuple[Broker, SlurmRest, TokenVerifier]:
    """Put the parts together."""
    slurm = SlurmRest(config.slurm.url, config.jwt_key)
    ca_certs = str(config.ca_file) if config.ca_file else None
    verifier = TokenVerifier(config.issuer, ca_certs=ca_certs, http_proxy=config.http_proxy)
    accounts = Accounts(MapFile(config.map_file).account, minimum_uid=config.minimum_uid)
    return Broker(config, slurm, accounts, verifier), slurm, verifier


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    broker, slurm, verifier = build(config)
    requests = application(broker)
    server = HTTPServer(
        requests,
        ssl_options=tls_context(config),
        max_body_size=MAX_BODY,
        max_header_size=MAX_BODY,
        max_buffer_size=4 * MAX_BODY,
        body_timeout=_BODY_TIMEOUT,
        idle_connection_timeout=_IDLE_TIMEOUT,
    )
    try:
        server.listen(config.port, config.listen)
    except OSError as error:
        raise ConfigError(f"port {config.port} cannot be listened on: {error.strerror}.") from None
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info("serving %s on port %d", config.audience, config.port)
    await stop.wait()
    server.stop()
    await settled(requests, _GRACE)
    await server.close_all_connections()
    slurm.close()
    await verifier.close()


async def settled(requests: web.Application, seconds: float) -> None:
    """Let requests under way come to their answers: whoever submits must learn the job's number."""
    end = time.monotonic() + seconds
    while requests.settings["under_way"]:
        if time.monotonic() > end:
            log.warning("requests were still under way")
            return
        await asyncio.sleep(0.02)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the broker, or say in a sentence why it does not start."""
    parser = argparse.ArgumentParser(
        prog="roost-slurm-broker",
        description="Take IAM tokens and a closed set of wishes to Slurm.",
    )
    parser.add_argument("--config", type=Path, default=Path("/etc/roost/broker.toml"))
    parser.add_argument("--check", action="store_true", help="read the configuration and leave")
    parser.add_argument("--debug", action="store_true", help="log every request")
    options = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if options.debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    contain_errors()
    try:
        config = settings.load(options.config)
        if options.check:
            tls_context(config)
            return 0
        asyncio.run(serve(config))
    except ConfigError as error:
        sys.stderr.write(f"roost-slurm-broker: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
