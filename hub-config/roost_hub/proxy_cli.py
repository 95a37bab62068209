"""``roost proxy``: JupyterHub's proxy as a service of its own, set up as the hub's file says."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from roost_hub.live.check import CONFIG, Unusable, load

if TYPE_CHECKING:
    import argparse

    from traitlets.config import Config

PAGES = Path(__file__).with_name("proxy_pages")
"""What the proxy shows where nobody answers."""
STREAMS = PAGES / "end_streams.js"
_PROGRAM = "configurable-http-proxy"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and what it takes."""
    text = "run the proxy as a service of its own, so that it outlives the hub"
    proxy = commands.add_parser("proxy", help=text, description=text)
    proxy.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=CONFIG,
        help=f"the hub's jupyterhub_config.py; {CONFIG} if not given",
    )


def run(arguments: argparse.Namespace) -> int:  # noqa: RET503 - it ends as another program
    """Become the proxy; return an exit status only if that fails."""
    try:
        command, token = prepare(load(arguments.config))
    except Unusable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    program = shutil.which(command[0])
    if program is None:
        sys.stderr.write(
            f"{command[0]} is not on the PATH; `npm install -g {_PROGRAM}` installs it, "
            "or c.ConfigurableHTTPProxy.command says where it is.\n"
        )
        return 1
    _become(program, command, token)


def _become(program: str, command: list[str], token: str) -> NoReturn:
    options = f'{os.environ.get("NODE_OPTIONS", "")} --require "{STREAMS}"'.strip()
    # In the environment, which only this account and root can read; an argument is for all to see.
    own = {"CONFIGPROXY_AUTH_TOKEN": token, "NODE_OPTIONS": options}
    os.execve(program, command, os.environ | own)  # noqa: S606


def prepare(config: Config) -> tuple[list[str], str]:
    """Make the certificates of internal TLS if there are none, and say what is to be run.

    Parameters
    ----------
    config
        The hub's settings.

    Returns
    -------
    tuple[list[str], str]
        The proxy's command line, and the token that the hub and it share.

    Raises
    ------
    Unusable
        If the settings leave the proxy to the hub, or have no token.
    """
    # JupyterHub takes a second to import: only who runs the proxy pays for it.
    from jupyterhub.app import JupyterHub  # noqa: PLC0415
    from jupyterhub.objects import Server  # noqa: PLC0415
    from jupyterhub.proxy import ConfigurableHTTPProxy  # noqa: PLC0415

    app = JupyterHub(config=config)
    own = config.ConfigurableHTTPProxy
    if own.get("should_start", True) or config.Proxy.get("should_start", True) is not True:
        raise Unusable(
            "The hub starts its own proxy: c.ConfigurableHTTPProxy.should_start = False in "
            "jupyterhub_config.py leaves it to `roost proxy`."
        )
    if not (own.get("auth_token") or os.environ.get("CONFIGPROXY_AUTH_TOKEN")):
        raise Unusable(
            "The hub and the proxy share no token: c.ConfigurableHTTPProxy.auth_token in "
            "jupyterhub_config.py sets one."
        )
    asyncio.run(_make_certificates(app))
    app.init_hub()
    proxy = ConfigurableHTTPProxy(
        parent=app,
        app=app,
        hub=app.hub,
        log=app.log,
        public_url=app.bind_url,
        ssl_cert=app.ssl_cert,
        ssl_key=app.ssl_key,
    )
    public, api = Server.from_url(proxy.public_url), Server.from_url(proxy.api_url)
    options = {
        "--ip": public.ip,
        "--port": str(public.port),
        "--api-ip": api.ip,
        "--api-port": str(api.port),
        # The hub's pages are there as soon as the hub is, whichever of the two starts first.
        "--default-target": app.hub.host,
        # JupyterHub's own page needs the hub, and calls a server down that is out of reach.
        "--error-path": str(PAGES),
        "--log-level": proxy.log_level,
        "--ssl-key": proxy.ssl_key,
        "--ssl-cert": proxy.ssl_cert,
    }
    command = [*proxy.command]
    for name, value in options.items():
        command += [name, value] if value else []
    if app.subdomain_host:
        command.append("--host-routing")
    if app.internal_ssl:
        command += proxy._get_ssl_options()  # noqa: SLF001 - JupyterHub has no other name for it
    return command, proxy.auth_token


async def _make_certificates(app: Any) -> None:
    """Make what internal TLS needs, as the hub does; within a loop, for it makes a client too."""
    app.init_internal_ssl()
