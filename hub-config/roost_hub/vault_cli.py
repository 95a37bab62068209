"""``roost vault``: how the vault of tokens stands, and new keys for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from roost_shepherd.errors import ShepherdError
from roost_shepherd.vault.crypto import Cipher
from roost_shepherd.vault.rekey import Rekey

if TYPE_CHECKING:
    import argparse

KEYS = "ROOST_VAULT_KEYS"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and what it takes."""
    vault = commands.add_parser("vault", help="look after the vault of tokens")
    ways = vault.add_subparsers(dest="way", required=True)
    for name, text in (
        ("status", "say what the vault holds, and which keys it needs"),
        ("rotate-key", "seal all with the newest key; the hub may run"),
    ):
        way = ways.add_parser(name, help=text, description=text)
        way.add_argument("vault", help="its file, or a database URL as c.Shepherd.vault_url")
        way.add_argument(
            "--keys",
            type=Path,
            metavar="FILE",
            help=f"the keys, one on a line, the newest first; from {KEYS} if not given",
        )


def run(arguments: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    try:
        rekey = Rekey(_url(arguments.vault), Cipher(_keys(arguments.keys)))
        try:
            if arguments.way == "rotate-key":
                count = rekey.rotate()
                sys.stdout.write(
                    f"{count} secrets are sealed anew. Nothing needs the older keys any more: take "
                    "them out of the settings, and restart the hub when it suits.\n"
                )
            else:
                sys.stdout.write(_status(rekey))
        finally:
            rekey.close()
    except (ShepherdError, OSError) as error:
        sys.stderr.write(f"{error.sentence if isinstance(error, ShepherdError) else error}\n")
        return 1
    return 0


def _url(given: str) -> str:
    return given if "://" in given else f"sqlite:///{Path(given).absolute()}"


def _keys(path: Path | None) -> list[str]:
    given = os.environ.get(KEYS, "") if path is None else path.read_text(encoding="utf-8-sig")
    return [key for line in given.splitlines() for key in line.split(";") if key.strip()]


def _status(rekey: Rekey) -> str:
    found = rekey.status()
    lines = [f"{'grants':12}  {sum(found.grants.values())}"]
    lines += [f"  {state:10}  {number}" for state, number in sorted(found.grants.items())]
    lines += [
        f"{'tokens':12}  {found.tokens}, {found.in_use} of them in use",
        f"{'secrets':12}  {found.secrets}, {found.older} of them sealed with an older key",
    ]
    if not found.newest_known:
        lines.append("The hub was not started with the newest of these keys yet.")
    elif found.older or found.keys > 1:
        lines.append("The older keys are still needed; `roost vault rotate-key` changes that.")
    else:
        lines.append("Only the newest key is needed.")
    return "\n".join(lines) + "\n"
