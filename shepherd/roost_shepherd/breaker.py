"""Leave a provider alone that is away: one asks whether it is back, then all go on.

Without it, an outage of hours with five thousand grants is five thousand questions a minute, and
all of them in the moment in which the provider comes up again.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from roost_shepherd.errors import ProviderBusy, ProviderUnreachable, Terminal, Transient
from roost_shepherd.expiry import backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AFTER = 3
"""Failures in a row that open the breaker: one or two may be of one grant alone."""


class LeftAlone(ProviderBusy):
    """The provider was not asked: it is away, and somebody else is the one to look."""


class Breaker:
    """One for each provider, shared by all who ask it.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    jitter
        A random number from 0 to 1.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._first_failure = 0.0
        self._until = 0.0
        self._asked = 0.0
        self._probing = False
        self._sentence = ""
        self.since: float | None = None
        """When the outage began, while it lasts."""

    @property
    def sentence(self) -> str:
        """What the provider's last failure was, in words for users."""
        return self._sentence

    @property
    def next_probe_at(self) -> float:
        """When one may look again; in the past while the provider is there."""
        return self._until if self.since is not None else 0.0

    def check(self) -> None:
        """Raise if it is of no use to ask now.

        Raises
        ------
        LeftAlone
            With what the provider's problem was.
        """
        if self.since is None:
            return
        now = self._clock()
        if self._probing or now < self._until:
            raise LeftAlone(
                self._sentence,
                detail="left alone until the next probe",
                retry_after=max(0.0, self._until - now),
            )

    def hurry(self, patience: float | None) -> None:
        """Let the next probe come in time for somebody who can wait less than who asked last.

        Parameters
        ----------
        patience
            As for :meth:`asking`.
        """
        if self.since is None or patience is None:
            return
        now = self._clock()
        wait = backoff(1, jitter=0.0, retry_after=max(0.0, self._asked - now), most=patience)
        self._until = min(self._until, now + max(wait, patience))

    @contextmanager
    def asking(self, patience: float | None = None) -> Iterator[None]:
        """Wrap one question, and learn from how it ends.

        Parameters
        ----------
        patience
            Seconds to wait for the next probe at most, three times that if the provider itself
            asked for more: short-lived tokens cannot wait a minute.

        Raises
        ------
        LeftAlone
            As :meth:`check`; the question was not put.
        """
        self.check()
        probe = self.since is not None
        self._probing = self._probing or probe
        try:
            yield
        except Transient as error:
            if isinstance(error, ProviderUnreachable | ProviderBusy):
                self._failed(error, patience, probe=probe)
            raise
        except Terminal:
            self._answered()
            raise
        else:
            self._answered()
        finally:
            if probe:
                self._probing = False

    def _failed(self, error: Transient, patience: float | None, *, probe: bool) -> None:
        now = self._clock()
        asked = error.retry_after
        if asked is not None:
            self._asked = max(self._asked, now + asked)
        if self.since is not None and not probe:
            # Asked before it was known: all that is new is how long the provider wants its peace.
            if asked is not None:
                wait = backoff(1, jitter=0.0, retry_after=asked, most=patience)
                self._until = max(self._until, now + wait)
            return
        if not self._failures:
            self._first_failure = now
        self._failures += 1
        self._sentence = error.sentence
        # One Retry-After is meant for all (RFC 9110, section 10.2.3).
        if self._failures < AFTER and asked is None and not probe:
            return
        wait = backoff(self._failures, jitter=self._jitter())
        if patience is not None:
            wait = min(wait, patience)
        if asked is not None:
            wait = max(wait, backoff(1, jitter=0.0, retry_after=asked, most=patience))
        if self.since is None:
            self.since = self._first_failure
        self._until = now + wait

    def _answered(self) -> None:
        self._failures = 0
        self._until = self._asked = 0.0
        self.since = None
