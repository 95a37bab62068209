"""Bundles for agents that were pinned before this hub's: a job in the queue keeps its agent.

The first agent knows neither files nor prologue, and does not name its directory in variables.
What it starts instead is a few lines that do all this and then become the server.
"""

from __future__ import annotations

import json
import re
from typing import Any

_AGENT = re.compile(r"roost-agent/(\d{1,4})\b")
_NEW = (
    "files",
    "prologue",
    "image",
    "gpus",
    "ends_in",
    "token_states",
    "again_in",
    "takes_sockets",
    "programs",
)

# The environment is for the process's own account to read, and this part of it ends here.
_FIRST_STEPS = """\
import json, os, sys
here = os.path.dirname(os.environ["ROOST_STATUS_FILE"])
for name, text in json.loads(os.environ.pop("ROOST_FILES")).items():
    path = os.path.join(here, name)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
prologue = os.environ.pop("ROOST_PROLOGUE")
argv = [word.replace("@ROOST_DIR@", here) for word in sys.argv[1:]]
env = {name: value.replace("@ROOST_DIR@", here) for name, value in os.environ.items()}
if prologue:
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    argv = [shell, "-c", "set -e" + chr(10) + prologue + chr(10) + 'exec "$@"', "roost"] + argv
os.execvpe(argv[0], argv, env)
"""


def agent_version(user_agent: str) -> int:
    """Return which agent calls, from its ``User-Agent``; 0 if it is none of ours."""
    match = _AGENT.match(user_agent)
    return int(match[1]) if match else 0


def for_first_agent(bundle: dict[str, Any]) -> dict[str, Any]:
    """Return a bundle with which version 1 of the agent starts the same server.

    Of the files it gets those for internal TLS only: its answers, and one variable, are short.
    """
    plain = {name: value for name, value in bundle.items() if name not in _NEW}
    files = {path: text for path, text in bundle["files"].items() if path.startswith("tls/")}
    steps = {"ROOST_FILES": json.dumps(files), "ROOST_PROLOGUE": bundle["prologue"]}
    return {
        **plain,
        "argv": [bundle["argv"][0], "-I", "-c", _FIRST_STEPS, *bundle["argv"]],
        "env": {**bundle["env"], **steps},
    }
