"""A single-user server of tornado, as small as can be, for the real agent to start."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from roost_spawner.server_lines import server_command

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
import email, hashlib, json, os, queue, random, ssl, subprocess, sys, token, urllib.parse
import beside
from tornado import httpserver, ioloop, web
url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
class Handler(web.RequestHandler):
    def get(self):
        kernel = [sys.executable, "-c", "import notebook_module; print(notebook_module.__file__)"]
        self.finish({
            "peer": self.request.remote_ip,
            "cwd": os.getcwd(),
            "path": sys.path,
            "kernel": subprocess.run(kernel, stdout=subprocess.PIPE).stdout.decode().strip(),
            "sockets": os.environ.get("ROOST_SOCKETS"),
        })
class Quit(web.RequestHandler):
    def get(self):
        os._exit(0)
server = httpserver.HTTPServer(web.Application([("/user/alice/quit", Quit), (".*", Handler)]))
# As ServerApp does: once to see whether the port is free, then to listen.
from tornado.netutil import bind_sockets
for one in bind_sockets(url.port, url.hostname):
    one.close()
server.listen(url.port, url.hostname)
ioloop.IOLoop.current().start()
"""


def tornado_server(folder: Path, *, takes_sockets: bool = True) -> dict[str, Any]:
    """Return the part of a bundle that starts it.

    Parameters
    ----------
    folder
        For the server's packages.  The prologue puts it, and an empty entry, on the search path.
    takes_sockets
        Whether the agent hands its sockets over.
    """
    package = folder / "jupyterhub/singleuser"
    package.mkdir(parents=True)
    for name in (package, package.parent):
        (name / "__init__.py").touch()
    (folder / "beside.py").touch()
    (package / "__main__.py").write_text(SOURCE)
    return {
        "argv": server_command(sys.executable, []),
        "prologue": f"export PYTHONPATH={folder}:",
        "takes_sockets": takes_sockets,
    }
