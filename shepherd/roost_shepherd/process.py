"""``roost-shepherd``: the loop as a process of its own, over the hub's vault.

Its settings are ``c.Shepherd``, as in the hub's, and the few of :class:`ShepherdProcess`.  With it,
the hub's configuration says ``c.Shepherd.renew_ahead = False``; that both renew is safe too.
"""

# typing.override came with Python 3.12.
# mypy: disable-error-code="explicit-override"

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application as WebApplication
from tornado.web import RequestHandler
from traitlets import Integer, TraitError, Unicode, default
from traitlets.config import Application
from traitlets.config.loader import PyFileConfigLoader

from roost_shepherd.errors import ShepherdError
from roost_shepherd.shepherd import Shepherd

if TYPE_CHECKING:
    from collections.abc import Sequence


class HealthHandler(RequestHandler):
    """200 while tokens are looked after, else 503, with the reasons."""

    def initialize(self, shepherd: Shepherd) -> None:
        """Take what every request needs."""
        self.shepherd = shepherd

    def get(self) -> None:
        """Answer."""
        health = self.shepherd.health()
        self.set_status(200 if health.good else 503)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(health.as_json()) + "\n")


class MetricsHandler(RequestHandler):
    """Prometheus's text format."""

    def get(self) -> None:
        """Answer."""
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(generate_latest(REGISTRY))


class ShepherdProcess(Application):
    """Keep the tokens of running sessions fresh, beside the hub and over its vault."""

    name = "roost-shepherd"
    description = __doc__ or ""
    classes = [Shepherd]  # noqa: RUF012 - traitlets wants it so
    aliases = {  # noqa: RUF012
        "config": "ShepherdProcess.config_file",
        "ip": "ShepherdProcess.ip",
        "port": "ShepherdProcess.port",
        "log-level": "Application.log_level",
    }

    config_file = Unicode(
        "/etc/roost/shepherd_config.py",
        help="The configuration, a Python file as JupyterHub's: `c.Shepherd.issuer = ...`.",
    ).tag(config=True)
    ip = Unicode(
        "127.0.0.1",
        help="Where /health and /metrics answer. They name no user and hold no token, and ask for "
        "no password: leave them on the loopback unless your Prometheus is elsewhere.",
    ).tag(config=True)
    port = Integer(8083, min=0, max=65535, help="Their port; 0 takes any.").tag(config=True)

    @default("log_level")
    def _default_log_level(self) -> int:
        return logging.INFO

    def initialize(self, argv: Sequence[str] | None = None) -> None:
        """Read the command line, then the file; the command line wins."""
        self.parse_command_line(list(argv) if argv is not None else None)
        given = self.cli_config
        path = Path(self.config_file)
        if not path.is_file():
            self._give_up(f"There is no configuration file {path}.")
        try:
            self.update_config(PyFileConfigLoader(str(path.absolute())).load_config())
        except Exception as error:  # whatever a Python file may raise
            self._give_up(f"{path} cannot be used: {type(error).__name__}: {error}")
        self.update_config(given)

    def start(self) -> None:
        """Serve until SIGTERM or SIGINT; then finish what was begun."""
        try:
            asyncio.run(self.serve())
        except (ShepherdError, TraitError, OSError) as error:
            self._give_up(error.sentence if isinstance(error, ShepherdError) else str(error))

    async def serve(self) -> None:
        """Open the vault, renew, answer, and stop without losing an answer.

        Raises
        ------
        VaultError, BadSetting
            With a sentence that says what to set.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        shepherd = Shepherd(parent=self)
        handlers: list[Any] = [
            ("/health", HealthHandler, {"shepherd": shepherd}),
            ("/metrics", MetricsHandler),
        ]
        server = HTTPServer(WebApplication(handlers, log_function=lambda _handler: None))
        sockets = bind_sockets(self.port, self.ip)
        try:
            await shepherd.start()
            server.add_sockets(sockets)
            where = sockets[0].getsockname()
            self.log.info("Renewing; /health and /metrics are at %s:%d", where[0], where[1])
            await stop.wait()
            self.log.info("Told to stop: waiting for what was begun")
        finally:
            server.stop()
            await shepherd.stop()
            await server.close_all_connections()
        self.log.info("All is in the vault; ended")

    def _give_up(self, sentence: str) -> NoReturn:
        sys.stderr.write(f"{sentence}\n")
        sys.exit(1)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command ``roost-shepherd``."""
    ShepherdProcess.launch_instance(None if argv is None else list(argv))
