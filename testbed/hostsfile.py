"""The marked block in the machine's ``/etc/hosts``."""

from __future__ import annotations

from pathlib import Path

BEGIN = "# >>> roost testbed >>>"
END = "# <<< roost testbed <<<"
PATH = Path("/etc/hosts")


def with_block(text: str, lines: list[str]) -> str:
    """Return a hosts file with our block set to `lines`; without a block when there are none."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        if line == BEGIN:
            inside = True
        elif line == END:
            inside = False
        elif not inside:
            kept.append(line)
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
        draft.chmod(0o644)
        draft.replace(path)
    except OSError:
        # In a container the hosts file is a mount point, which cannot be replaced.
        draft.unlink(missing_ok=True)
        path.write_text(new)
