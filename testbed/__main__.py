"""``python -m testbed``."""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - said in a sentence, before anything newer is met
    sys.exit("The testbed needs Python 3.11 or newer; run it with `python3.11 -m testbed`.")

from testbed.cli import main

sys.exit(main())
