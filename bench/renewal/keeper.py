"""The process that is measured: a shepherd as a hub has it, and sessions that fetch their tokens.

Arguments: folder, issuer, client id, client secret, seconds that a token lives, seconds to measure.
The vault begins full, with tokens of all ages, as in a hub that has run for long.  Prints what it
measured as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import secrets
import sys
import time
from pathlib import Path

from roost_shepherd.expiry import deadline
from roost_shepherd.shepherd import AccessToken, Shepherd
from roost_shepherd.vault.records import StoredToken, Want

log = logging.getLogger(__name__)
AUDIENCE, SCOPES = "https://ap.example.org:9618", frozenset({"compute.read", "compute.create"})
LATER = 5.0
"""Seconds after its deadline in which a session fetches the token that was renewed ahead."""
SAMPLES = 5.0
"""Tokens a second that are fetched besides, to see how long that takes."""


class Keeper:
    """What is measured, and the sessions around it."""

    def __init__(self, shepherd: Shepherd, life: float) -> None:
        self.shepherd, self.life = shepherd, life
        self.seconds: list[float] = []
        self.fetched = self.expired = self.failed = 0

    def fill(self, issuer: str, refresh_tokens: dict[str, str]) -> None:
        """Put every grant into the vault, each with a token of some age."""
        self.shepherd.open()
        vault, want = self.shepherd._vault, Want(AUDIENCE, SCOPES)  # noqa: SLF001
        assert vault is not None
        for subject, refresh_token in refresh_tokens.items():
            vault.put_grant(
                subject,
                issuer=issuer,
                subject=subject,
                refresh_token=refresh_token,
                refresh_expires_at=None,
                scopes=SCOPES,
            )
            grant = vault.grant(subject)
            assert grant is not None
            # Due at some time of the next two thirds of a life, from half a minute on.
            issued = time.time() + 30 + random.random() * self.life * 2 / 3 - self.life * 2 / 3
            token = StoredToken(
                value=f"from-before-{secrets.token_hex(300)}",
                scopes=SCOPES,
                issued_at=issued,
                renew_at=deadline(issued, issued + self.life),
                expires_at=issued + self.life,
                taken=True,
            )
            vault.commit_renewal(grant, want, token, refresh_token=None, refresh_expires_at=None)

    async def session(self, owner: str) -> None:
        """Fetch a token, and the next one after its deadline, for ever."""
        last_end = float("inf")
        while True:
            token = await self.fetch(owner)
            now = time.time()
            self.fetched += 1
            if token is None:
                await asyncio.sleep(5)
                continue
            self.expired += token.expires_at <= now or last_end <= now
            last_end = token.expires_at
            await asyncio.sleep(token.refresh_in(now) + 1 + random.random() * (LATER - 1))

    async def fetch(self, owner: str) -> AccessToken | None:
        began = time.perf_counter()
        try:
            token = await self.shepherd.access_token(owner, audience=AUDIENCE, scopes=SCOPES)
        except Exception:
            log.exception("no token")
            self.failed += 1
            return None
        self.seconds.append(time.perf_counter() - began)
        return token

    async def sample(self, owners: list[str]) -> None:
        """Fetch a token now and then, as pages and starts do."""
        while True:
            await self.fetch(random.choice(owners))
            await asyncio.sleep(1 / SAMPLES)


async def main() -> None:
    with contextlib.suppress(PermissionError):
        os.nice(-15)  # as the hub of the other parts
    folder, issuer, client_id, secret = Path(sys.argv[1]), *sys.argv[2:5]
    life, seconds = float(sys.argv[5]), float(sys.argv[6])
    shepherd = Shepherd(
        issuer=issuer,
        client_id=client_id,
        client_secret=secret,
        ca_certs=str(folder / "ca.crt"),
        vault_url=f"sqlite:///{folder}/vault.sqlite",
        vault_keys=[secrets.token_hex(32)],
    )
    keeper = Keeper(shepherd, life)
    refresh_tokens = json.loads((folder / "grants.json").read_text())
    keeper.fill(issuer, refresh_tokens)
    print("full", flush=True)
    await shepherd.start()
    owners = list(refresh_tokens)
    tasks = [asyncio.create_task(keeper.session(owner)) for owner in owners]
    tasks.append(asyncio.create_task(keeper.sample(owners)))
    await asyncio.sleep(10)  # the sessions' first fetch, all at once, is no steady state
    keeper.seconds.clear()
    began, cpu = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    lasted, cpu = time.monotonic() - began, time.process_time() - cpu
    for task in tasks:
        task.cancel()
    await shepherd.stop()
    ordered = sorted(keeper.seconds)
    result = {
        "cpu_percent": 100 * cpu / lasted,
        "seconds": lasted,
        "fetched": len(ordered),
        "failed": keeper.failed,
        "expired": keeper.expired,
        "handout_ms": {
            part: 1000 * ordered[int(len(ordered) * share)]
            for part, share in (("median", 0.5), ("p99", 0.99), ("p999", 0.999))
        },
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
