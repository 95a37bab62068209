"""A process of its own over a vault: takes one token, and may be killed on the way.

Arguments: issuer, client id, client secret, vault URL, audience, where to die ("", "answer" or
"commit").  Prints a digest of the token.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys

from roost_shepherd.provider import Provider
from roost_shepherd.shepherd import Shepherd
from roost_shepherd.timing import Timing
from roost_shepherd.vault.store import Vault


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_after(owner: type, name: str) -> None:
    real = getattr(owner, name)
    if asyncio.iscoroutinefunction(real):

        async def killed(*args, **kwargs):
            await real(*args, **kwargs)
            die()

    else:

        def killed(*args, **kwargs):
            real(*args, **kwargs)
            die()

    setattr(owner, name, killed)


async def main() -> None:
    issuer, client_id, secret, url, audience, death = sys.argv[1:]
    if death == "answer":
        dies_after(Provider, "refresh")
    if death == "commit":
        dies_after(Vault, "commit_renewal")
    shepherd = Shepherd(
        issuer=issuer,
        client_id=client_id,
        client_secret=secret,
        vault_url=url,
        # A dead process's lease should end soon; that of a living one must not.
        timing=Timing(lease=1.0 if death else 30.0),
    )
    token = await shepherd.access_token("alice", audience=audience, scopes=["compute.read"])
    print(hashlib.sha256(token.value.encode()).hexdigest())
    await shepherd.stop()


asyncio.run(main())
