"""The command ``roost``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from roost_spawner.errors import SiteError
from roost_spawner.site.loader import load_site

from roost_hub import vault_cli

if TYPE_CHECKING:
    from collections.abc import Sequence


def _check(path: Path) -> int:
    try:
        site = load_site(path)
    except SiteError as error:
        sys.stderr.write(f"{error.sentence}\n")
        return 1
    found = f"{len(site.clusters)} clusters, {len(site.profiles)} profiles"
    sys.stdout.write(f"{path}: good: {found}.\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="roost", description="Tools for the admins of a hub.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say whether a site file is good, and where not")
    check.add_argument("site", type=Path, help="the site file, such as /etc/roost/site.yaml")
    vault_cli.add(commands)
    arguments = parser.parse_args(argv)
    return vault_cli.run(arguments) if arguments.command == "vault" else _check(arguments.site)
