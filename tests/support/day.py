"""A day in minutes: tokens that live for less than one, and who watches each of them.

The hub, the provider, the pool and the agents are real; only the servers are tiny.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import jwt

from bench.scale import ground as crowd_ground
from testbed import lifecycle
from testbed.probe import https_status
from testbed.services import hub as hub_service
from testbed.services import iam as iam_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testbed.layout import Site

NODES = ("ep1", "ep2")
AUDIENCE = "https://dcache.roost.test"
DEADLINE = (2 / 3 - 1 / 15, 2 / 3)
"""The part of a token's life within which it is renewed (``roost_shepherd.expiry``)."""
SLACK = 5.0
"""Seconds by which a renewal may be late: the machine has other work."""
_ISSUED = re.compile(
    r"(?P<at>\S+Z) token client=roost-hub sub=(?P<sub>\S+) aud=(?P<aud>\S+) "
    r"grant=(?P<grant>.+?) scopes="
)


@dataclass(frozen=True, slots=True)
class Bad:
    """A read that gave no valid token."""

    at: float
    session: str
    file: str
    why: str


@dataclass
class Reader(threading.Thread):
    """Reads every token file of every session on the nodes, once a second.

    Attributes
    ----------
    reads
        How many gave a valid token.
    bad
        Those that did not.
    seen
        Every token by its owner, with its time of issue: the first read of each.
    states
        What the sessions' status files said of their default tokens, with the time.
    least_left
        The fewest seconds that a token had left, by the second in which it was read.
    lags
        Of each file that got another token: when that was issued, and after how many seconds it
        was first read there.
    """

    site: Site
    key: Any
    reads: int = 0
    bad: list[Bad] = field(default_factory=list)
    seen: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    states: list[tuple[float, str, str]] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    least_left: dict[int, float] = field(default_factory=dict)
    lags: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        threading.Thread.__init__(self, daemon=True)
        self._ended = threading.Event()
        self._known: dict[str, dict[str, Any]] = {}
        self._last: dict[Path, str] = {}

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Read until :meth:`end`."""
        while not self._ended.wait(1.0):
            for folder in self.folders():
                self._look(folder)

    def end(self) -> None:
        """Read no more."""
        self._ended.set()
        self.join(10)

    def folders(self) -> list[Path]:
        """Return the private directories of the sessions that run."""
        found: list[Path] = []
        for node in NODES:
            execute = self.site.hosts[node].path("/var/lib/condor/execute")
            found += execute.glob("dir_*/roost-*")
        return found

    def _look(self, folder: Path) -> None:
        status = folder / "status.json"
        try:
            told = json.loads(status.read_text())
        except OSError:
            return  # the session is just beginning or ending
        if told["state"] != "running":
            return
        self.sessions.add(folder.name)
        default = told["tokens"].get("default", {})
        self.states.append((time.time(), str(default.get("state")), str(default.get("message"))))
        for file in (*folder.glob("tokens/*"), *folder.glob("bt_u*")):
            if file.suffix != ".new":
                self._read(folder, file)

    def _read(self, folder: Path, file: Path) -> None:
        now = time.time()
        try:
            value = file.read_text()
        except FileNotFoundError:
            if folder.exists():  # else the session has just ended
                self.bad.append(Bad(now, folder.name, file.name, "gone"))
            return
        claims = self._known.get(value)
        if claims is None:
            try:
                claims = jwt.decode(
                    value,
                    self.key,
                    algorithms=["RS256"],
                    audience=AUDIENCE,
                    options={"verify_exp": False},  # that is looked at with each read
                )
            except jwt.InvalidTokenError as error:
                self.bad.append(Bad(now, folder.name, file.name, type(error).__name__))
                return
            self._known[value] = claims
            self.seen[claims["sub"]][value] = float(claims["iat"])
        if self._last.setdefault(file, value) != value:
            self._last[file] = value
            self.lags.append((float(claims["iat"]), now - claims["iat"]))
        left = claims["exp"] - now
        if left <= 0:
            self.bad.append(Bad(now, folder.name, file.name, f"ended {-left:.1f} s ago"))
            return
        second = int(now)
        self.least_left[second] = min(self.least_left.get(second, left), left)
        self.reads += 1


class Day:
    """The faults of a day, and what is counted at the provider.

    Parameters
    ----------
    site
        The testbed, with a crowd's hub.
    life
        Seconds that an access token lives.
    """

    def __init__(self, site: Site, life: int) -> None:
        self.site = site
        self.life = life
        self._iam = lifecycle.find_service(site, "iam")
        self._log = lifecycle.log_path(site, self._iam)
        self._begun = self._log.stat().st_size
        self.outages: list[tuple[float, float]] = []
        self.kills: list[tuple[float, float]] = []

    @property
    def faults(self) -> list[tuple[float, float]]:
        """When the provider or the hub, which renews, was away."""
        return sorted((*self.outages, *self.kills))

    def too_long(self) -> list[tuple[float, float]]:
        """Return the faults that left no time to renew; a slow machine makes them of short ones.

        A third of a life is left at a deadline; agent and hub need some of it to find out that
        all is well again (a sixth and an eighth of what is left, and never less than a second).
        """
        most = self.life / 3 - 3
        return [(gone, back + self.life / 2) for gone, back in self.faults if back - gone > most]

    def calm(self, begin: float, end: float) -> bool:
        """Whether nothing was away in between."""
        return not any(gone < end and back > begin for gone, back in self.faults)

    async def renewed_in_peace(self) -> None:
        """Wait until each grant has been renewed once more, with nothing away."""
        began = time.time()
        await _until(
            lambda: all(times[-1] > began for times in self.issued().values()),
            "every grant is renewed at a deadline",
            limit=2 * self.life,
        )

    async def deadline_near(self) -> None:
        """Wait until a grant is just about to be renewed, and none can be under way.

        A provider with rotation and reuse detection takes a grant away whose renewal is cut off
        between its answer and the vault; what then happens is for other tests.
        """
        early, late = (part * self.life for part in DEADLINE)
        limit = time.monotonic() + 2 * self.life
        while time.monotonic() < limit:
            ages = [time.time() - times[-1] for times in self.issued().values()]
            if any(early - 1.5 < age < early - 0.5 for age in ages) and not any(
                early - 0.5 <= age < late + 0.5 for age in ages
            ):
                return
            await asyncio.sleep(0.1)

    # -- faults --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def without_iam(self) -> Any:
        """Take the provider away for as long as the context lasts."""
        host, began = self.site.hosts["iam"], time.time()
        await asyncio.to_thread(lifecycle.stop_service, self.site, self._iam)
        try:
            yield
        finally:
            await asyncio.to_thread(iam_service.begin, self.site, host, lifetime=self.life)
            await _until(lambda: self._iam.ready(host), "the provider is back")
            self.outages.append((began, time.time()))

    async def kill_hub(self) -> float:
        """End the hub with no time to say anything, and start it again; return the seconds."""
        host, began = self.site.hosts["hub"], time.time()
        host.run(["kill", "-KILL", str(host.service_pid("hub"))])
        await _until(lambda: not host.alive("hub"), "the hub is gone")
        hub_service.begin(
            self.site,
            host,
            config=f"{hub_service.SOURCE}/bench/scale/hub_config.py",
            state=crowd_ground.STATE,
        )

        def answers() -> bool:
            return host.alive("hub") and (
                https_status(self.site.folders, "hub", "/hub/health") == 200
            )

        await _until(answers, "the hub is back")
        self.kills.append((began, time.time()))
        return time.time() - began

    # -- what the provider has noted -----------------------------------------------------------

    def _lines(self) -> Iterator[str]:
        with self._log.open() as log:
            log.seek(self._begun)
            yield from log

    def issued(self) -> dict[str, list[float]]:
        """Return when each owner was given tokens for the storage by their refresh token."""
        found: dict[str, list[float]] = defaultdict(list)
        for line in self._lines():
            match = _ISSUED.match(line)
            if match and match["aud"] == AUDIENCE and match["grant"].endswith("refresh_token"):
                found[match["sub"]].append(datetime.fromisoformat(match["at"]).timestamp())
        return found

    def refused(self) -> list[str]:
        """Return the provider's refusals; a refresh token that was shown twice is among them."""
        return [line for line in self._lines() if "refused" in line or "grant revoked" in line]

    def out_of_step(self, issued: dict[str, list[float]], end: float) -> list[str]:
        """Return what was not one renewal at each deadline, until `end`, and no other."""
        early = DEADLINE[0] * self.life
        wrong: list[str] = []
        for times in issued.values():
            for one, two in itertools.pairwise(times):
                if two - one < early - 1.5:  # the provider's clock shows whole seconds
                    wrong.append(f"renewed after {two - one:.1f} s, before its deadline, or twice")
                if two > self.latest(one) + SLACK:
                    wrong.append(f"renewed after {two - one:.1f} s, late, or one was left out")
            if end > self.latest(times[-1]) + SLACK:
                wrong.append(f"not renewed for {end - times[-1]:.1f} s")
        return wrong

    def latest(self, issued_at: float) -> float:
        """Return by when a token must have been renewed: after a fault, when it is found over."""
        early, late = (issued_at + part * self.life for part in DEADLINE)
        for gone, back in self.faults:
            if gone < late + 1 and back > early - 1:
                late = max(late, back + self.life / 6)  # a sixth: roost_shepherd.expiry.patience
        return late


async def _until(condition: Any, what: str, limit: float = 60.0) -> None:
    until = time.monotonic() + limit
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < until, f"not within {limit:.0f} s: {what}"
        await asyncio.sleep(0.2)
