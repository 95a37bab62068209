"""What JupyterLab gets in each session: notices of its end, and a shorter autosave.

The files travel in the session's bundle, so that the nodes need nothing of ours.
"""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = "config"
"""Below the agent's own directory."""
EXTENSION = "roost-notices"
AUTOSAVE = 20
"""Seconds; JupyterLab's own default is 120.  An eviction leaves 22."""

_SOURCE = Path(__file__).with_name("extension")


def lab_files() -> dict[str, str]:
    """Return the files by path below the agent's own directory."""
    settings = {"@jupyterlab/docmanager-extension:plugin": {"autosaveInterval": AUTOSAVE}}
    # It offers to restart any server that does not answer, though its job may run on.  Without it
    # JupyterLab says that the connection is lost.
    page = {"disabledExtensions": {"@jupyterlab/hub-extension:connectionlost": True}}
    found = {
        f"{FOLDER}/labconfig/page_config.json": json.dumps(page),
        # jupyterlab-server's manual, "LabConfig": defaults that a user's own settings overrule.
        f"{FOLDER}/labconfig/default_setting_overrides.json": json.dumps(settings),
    }
    for path in sorted(_SOURCE.rglob("*")):
        if path.is_file():
            name = path.relative_to(_SOURCE).as_posix()
            found[f"labextensions/{EXTENSION}/{name}"] = path.read_text(encoding="utf-8")
    return found


def lab_environment() -> dict[str, str]:
    """Return the variables by which Jupyter finds them (jupyter_core's manual, "Directories")."""
    return {"JUPYTER_CONFIG_PATH": f"@ROOST_DIR@/{FOLDER}", "JUPYTER_PATH": "@ROOST_DIR@"}
