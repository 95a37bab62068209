"""The site file as it is now: taken up when it changes, and never when it is wrong."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from roost_spawner.errors import SiteError
from roost_spawner.site.changes import changes
from roost_spawner.site.loader import load_site

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from roost_spawner.site.models import Site

    Stamp = tuple[int, int, int] | None

KEPT = 20
"""Reloads that are remembered."""
_NEVER = (0, 0, 0)
LOOK_EVERY = 0.5
"""Seconds between looks at the file's date: a change is in force within two of them."""


@dataclass(frozen=True, slots=True)
class Reload:
    """One time that the file was read."""

    at: float
    """Seconds since the epoch."""
    said: tuple[str, ...]
    """What changed, or why it was refused: sentences."""
    refused: bool = False


class SiteFile:
    """The site file; a broken one never replaces the last good one.

    Parameters
    ----------
    path
        The file.
    log
        Where a refused change is said, once.
    check_every
        Seconds between looks at the file's date.
    unsafe
        Returns why a site must not take the place of another now, a sentence for each reason.

    Raises
    ------
    SiteError
        If the file is wrong from the start.
    """

    def __init__(
        self,
        path: Path,
        log: logging.Logger,
        check_every: float = LOOK_EVERY,
        unsafe: Callable[[Site, Site], Sequence[str]] = lambda _old, _new: (),
    ) -> None:
        self.path = path
        self.error: SiteError | None = None
        """What is wrong with the file as it is on disk now."""
        self.history: deque[Reload] = deque(maxlen=KEPT)
        """The newest first."""
        self._log = log
        self._check_every = check_every
        self._unsafe = unsafe
        self._stamp = self._stat()
        self._doubted: Stamp = _NEVER
        self._candidate: Site | None = None
        """A good one that has to wait until it is safe."""
        self._looked = time.monotonic()
        self._site = load_site(path)
        self.loaded_at = time.time()
        """When the site that is in force was read, in seconds since the epoch."""

    @property
    def site(self) -> Site:
        """The site; reads the file again when it has changed."""
        now = time.monotonic()
        if now - self._looked >= self._check_every:
            self._looked = now
            self._look()
        return self._site

    def add(self, sentences: Sequence[str]) -> None:
        """Add to what the last reload changed."""
        last = self.history.popleft()
        self.history.appendleft(replace(last, said=(*last.said, *sentences)))

    def _look(self) -> None:
        stamp = self._stat()
        if stamp != self._stamp:
            self._reload(stamp)
        elif self._candidate is not None and not self._unsafe(self._site, self._candidate):
            self._accept(self._candidate)

    def _stat(self) -> Stamp:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _reload(self, stamp: Stamp) -> None:
        self._candidate = None
        try:
            site = load_site(self.path)
        except SiteError as error:
            if stamp != self._doubted:
                self._doubted = stamp  # an editor may be half-way through writing it
                return
            self._stamp = stamp
            self._refuse(error)
            return
        self._stamp, self._doubted = stamp, _NEVER
        if reasons := self._unsafe(self._site, site):
            self._candidate = site
            self._refuse(SiteError("\n".join(f"{self.path}: {reason}" for reason in reasons)))
        else:
            self._accept(site)

    def _refuse(self, error: SiteError) -> None:
        self.error = error
        said = tuple(error.sentence.splitlines())
        self.history.appendleft(Reload(time.time(), said, refused=True))
        self._log.error("The site file is wrong; the last good one stays.\n%s", error.sentence)

    def _accept(self, site: Site) -> None:
        said = changes(self._site, site) or ("Nothing that counts has changed.",)
        self._site, self._candidate, self.error = site, None, None
        self.loaded_at = time.time()
        self.history.appendleft(Reload(self.loaded_at, said))
        self._log.info("Read %s again: %s", self.path, " ".join(said))
