"""A double of Apptainer: it cannot be had on this machine.

It takes the options that we give, and sets up the environment as Apptainer's user guide says of a
run that keeps nothing of the node's.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """\
#!{python}
import argparse, json, os, sys
parser = argparse.ArgumentParser()
parser.add_argument("action", choices=["exec"])
parser.add_argument("--home")
parser.add_argument("--pwd")
parser.add_argument("--bind", action="append")
parser.add_argument("--nv", action="store_true")
parser.add_argument("--rocm", action="store_true")
parser.add_argument("image")
parser.add_argument("command", nargs=argparse.REMAINDER)
given = parser.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
if os.access(here, os.W_OK):
    with open(os.path.join(here, "record"), "w") as file:
        json.dump(dict(vars(given), argv=sys.argv, pid=os.getpid()), file)
prefix = "APPTAINERENV_"
env = {{n[len(prefix):]: v for n, v in os.environ.items() if n.startswith(prefix)}}
env.update(HOME=given.home, PATH=env.pop("PREPEND_PATH", "") + ":/usr/bin:/bin")
env.update(APPTAINER_CONTAINER=given.image, APPTAINER_BIND=",".join(given.bind))
os.chdir(given.pwd)
os.execvpe(given.command[0], given.command, env)
"""


class Apptainer:
    """The double, as a program in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.program = folder / "apptainer"
        self.program.write_text(PROGRAM.format(python=sys.executable))
        self.program.chmod(0o755)

    @property
    def called(self) -> dict[str, Any]:
        """With what it was called, and its process."""
        return json.loads((self.folder / "record").read_text())
