"""The marked block in the machine's ``/etc/hosts``."""

from __future__ import annotations

import shutil
from pathlib import Path

from testbed.layout import NAME

BEGIN = f"# >>> {NAME} testbed >>>"
END = f"# <<< {NAME} testbed <<<"
PATH = Path("/etc/hosts")


def with_block(text: str, lines: list[str]) -> str:
    """Return a hosts file with our block set to `lines`; without a block when there are none."""
    kept: list[str] = []
    block: list[str] | None = None
    for line in text.splitlines():
        if line == BEGIN:
            kept += block or []
            block = []
        elif line == END:
            block = None
        elif block is None:
            kept.append(line)
        else:
            block.append(line)
    # A block that somebody's editing left without an end: only what is surely ours goes.
    kept += [line for line in block or [] if not line.startswith("127.77.")]
    if lines:
        kept += [BEGIN, *lines, END]
    return "\n".join(kept) + "\n"


def write(lines: list[str], path: Path = PATH) -> None:
    """Set our block, or remove it when there are no lines."""
    old = path.read_text()
    new = with_block(old, lines)
    if new == old:
        return
    try:
        draft = path.with_name(path.name + ".roost")
        draft.write_text(new)
        shutil.copymode(path, draft)
        draft.replace(path)
    except OSError:
        # In a container the hosts file is a mount point, which cannot be replaced.
        draft.unlink(missing_ok=True)
        path.write_text(new)
