"""Where Debian's packages come from: the admin's word, or what the machine's own tools use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path


def mirror() -> str:
    """Return the URL of a Debian mirror; empty if this machine knows none."""
    return os.environ.get("ROOST_TESTBED_MIRROR") or _debootstraps() or _apts()


def _debootstraps() -> str:
    program = shutil.which("debootstrap")
    text = Path(program).read_text(errors="replace") if program else ""
    found = re.search(r'^DEF_MIRROR="([^"]+)"', text, re.MULTILINE)
    return found[1] if found else ""


def _apts() -> str:
    # Good enough to see whether there is a network before debootstrap is installed.
    if shutil.which("apt-get") is None:
        return ""
    words = ["apt-get", "indextargets", "--format", "$(SITE)"]
    listed = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()
    return listed[0] if listed else ""
