"""``python -m roost_shepherd`` is ``roost-shepherd``."""

from __future__ import annotations

from roost_shepherd.process import main

main()
