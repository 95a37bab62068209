"""Run the provider and the keeper, and put together what both saw."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.local_iam import certificate
from tests.support.provider_double import ProviderDouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured."""

    grants: int = 5000
    life: float = 600.0
    minutes: float = 20.0

    @property
    def full(self) -> bool:
        """Whether it is enough for results.json."""
        return self.grants >= 5000 and self.life <= 600 and self.minutes >= 20


def run(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure; return what was found."""
    with tempfile.TemporaryDirectory(prefix="roost-renewal-") as name:
        folder = Path(name)
        certificate(folder)
        provider = _start("provider", folder, options.grants, options.life)
        keeper = None
        try:
            port = int(_line(provider))
            issuer = f"https://localhost:{port}/"
            client = (ProviderDouble.client_id, ProviderDouble.client_secret)
            say(f"{options.grants} grants, {options.life:.0f} s, {options.minutes} minutes")
            keeper = _start("keeper", folder, issuer, *client, options.life, options.minutes * 60)
            say(f"the vault is {_line(keeper)}")
            found = json.loads(_line(keeper))
            seen = _get(f"{issuer}bench", folder / "ca.crt")
        finally:
            for process in (keeper, provider):
                if process is not None:
                    process.terminate()
                    process.communicate()
    return found | {
        "grants": options.grants,
        "life_seconds": options.life,
        "refreshes": sum(map(len, seen["times"].values())),
        "duplicates": seen["reused"] + too_soon(seen["times"], options.life),
    }


def too_soon(times: Mapping[str, Sequence[float]], life: float) -> int:
    """Return how many refreshes came when their deadline was far.

    A token is renewed at two thirds of its life; sooner than half is once too often.

    Parameters
    ----------
    times
        When the provider refreshed each grant.
    life
        Seconds that its tokens live.
    """
    return sum(
        later - earlier < life / 2
        for moments in times.values()
        for earlier, later in pairwise(moments)
    )


def results(found: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of results.json."""
    return {
        "renewal_5000_grants_cpu_percent": round(found["cpu_percent"], 2),
        "renewal_duplicates": found["duplicates"],
        "renewal_expired": found["expired"] + found["failed"],
        "token_handout_p99_ms": round(found["handout_ms"]["p99"], 2),
    }


def _start(module: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"bench.renewal.{module}", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise TimeoutError(f"a process of the measurement ended with {process.wait()}")
    return line.strip()


def _get(url: str, ca: Path) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=str(ca))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with opener.open(url, timeout=60) as answer:
        value: dict[str, Any] = json.loads(answer.read())
    return value
