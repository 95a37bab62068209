"""The first lines of a session's server, which make its process what a session needs.

They run on the node, on every Python since 3.6, before anything of the server is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MODULES = {
    "jupyterhub-singleuser": "jupyterhub.singleuser",
    "jupyter-labhub": "jupyterlab.labhubapp",
}
"""Servers that these lines can start, by the names of their commands."""

# The start directory is the user's home or a folder that others write to: nothing is imported from
# there by the server, not even where an empty entry of PYTHONPATH stands for it.  PYTHONPATH and
# the user's site-packages count as ever, and kernels have their own directory on their path.
#
# PR_SET_PDEATHSIG (prctl(2)): where the batch system loses sight of a job whose agent was killed,
# the server must not live on.  None in sys.modules makes an import raise ModuleNotFoundError
# (Python's reference, "The module cache").
#
# The agent listens already, and hands its sockets over: the port is never anybody else's.
_SERVER = """\
import os, sys
here = os.getcwd()
sys.path[:] = [p for p in sys.path if p and os.path.realpath(p) != here]
import ctypes, runpy
try:
    ctypes.CDLL(None).prctl(1, 15)
except Exception:
    pass
sys.modules.update(dict.fromkeys({skips!r}))
held = os.environ.pop("ROOST_SOCKETS", "").split()
if held:
    import socket
    from tornado import netutil
    def take(word):
        family, number = map(int, word.split(":"))
        os.set_inheritable(number, False)
        return socket.socket(family, socket.SOCK_STREAM, fileno=number)
    def copy(one):
        other = one.dup()
        other.setblocking(False)
        return other
    held, usual = [take(word) for word in held], netutil.bind_sockets
    def bind_sockets(port, *args, **kwargs):
        if port != held[0].getsockname()[1]:
            return usual(port, *args, **kwargs)
        return [copy(one) for one in held]
    netutil.bind_sockets = bind_sockets
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


def server_command(
    python: str, skips: Sequence[str], module: str = MODULES["jupyterhub-singleuser"]
) -> list[str]:
    """Return the command that starts a single-user server, without its arguments.

    The server ends when the process does that started it, imports nothing from the directory it is
    started in, and listens on the sockets in ``ROOST_SOCKETS``, if that is set: pairs of family
    and descriptor, as in ``2:5 10:6``.

    Parameters
    ----------
    python
        Interpreter on the node.
    skips
        Modules that cannot be imported in the server's process, as if they were not installed.
        Kernels have them.
    module
        What the server is, a module that can be run.
    """
    return [python, "-c", _SERVER.format(skips=list(skips), module=module)]
