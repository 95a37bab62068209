"""What stops the testbed: always one sentence for the person at the terminal."""

from __future__ import annotations


class TestbedError(Exception):
    """Something did not work; the message says what and, where known, what to do."""

    __test__ = False


class Unfit(TestbedError):
    """The machine cannot carry the testbed.  Nothing has been changed."""
