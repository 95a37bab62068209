"""The command ``roost``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from roost_hub import block_cli, proxy_cli, site_cli, vault_cli

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="roost", description="Tools for the admins of a hub.")
    commands = parser.add_subparsers(dest="command", required=True)
    site_cli.add(commands)
    vault_cli.add(commands)
    proxy_cli.add(commands)
    block_cli.add(commands)
    arguments = parser.parse_args(argv)
    match arguments.command:
        case "check":
            return site_cli.check(arguments)
        case "schema":
            return site_cli.schema()
        case "proxy":
            return proxy_cli.run(arguments)
        case name if name in block_cli.COMMANDS:
            return block_cli.run(arguments)
        case _:
            return vault_cli.run(arguments)
