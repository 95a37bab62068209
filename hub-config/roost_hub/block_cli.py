"""``roost block``, ``roost unblock``, ``roost blocked``: users who may not use the hub."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from roost_authenticator import blocks

if TYPE_CHECKING:
    import argparse

COMMANDS = {
    "block": "end a user's sessions within 15 s, and refuse them logins and tokens",
    "unblock": "let a user log in again",
    "blocked": "list who is blocked",
}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands and what they take."""
    state = os.environ.get("ROOST_STATE", "/var/lib/roost")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text}; the hub may run.")
        if name != "blocked":
            command.add_argument("user", help="the name of the account")
        if name == "block":
            command.add_argument("--reason", default="", help="for admins; users do not see it")
        command.add_argument(
            "--file",
            type=Path,
            default=Path(state) / "blocked.json",
            help="as c.IAMOAuthenticator.block_file (default: %(default)s)",
        )


def run(arguments: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    try:
        return _run(arguments)
    except blocks.BadBlocks as error:
        said = str(error)
    except OSError as error:
        said = f"{arguments.file} cannot be written: {error.strerror}."
    sys.stderr.write(f"{said}\n")
    return 1


def _run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "block":
            blocks.block(arguments.file, arguments.user, arguments.reason)
            sys.stdout.write(f"{arguments.user} is blocked.\n")
        case "unblock":
            if not blocks.unblock(arguments.file, arguments.user):
                sys.stderr.write(f"{arguments.user} was not blocked.\n")
                return 1
            sys.stdout.write(f"{arguments.user} may log in again.\n")
        case _:
            for name, one in blocks.read(arguments.file).items():
                since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(one.at))
                sys.stdout.write(f"{name}  {since}  {one.reason}".rstrip() + "\n")
    return 0
