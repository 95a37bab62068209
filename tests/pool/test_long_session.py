"""A session that outlives its tokens: minutes, most of which are waits."""

from __future__ import annotations

import ssl
import textwrap
import time
from typing import TYPE_CHECKING

import jwt
import pytest

from tests.support.guest import until

if TYPE_CHECKING:
    from testbed.layout import Site

pytestmark = [pytest.mark.pool, pytest.mark.long]

# Runs inside the session, beside the kernel: notes every token that the file ever held.
WITNESS = textwrap.dedent(
    """
    import os, subprocess, sys, textwrap
    witness = textwrap.dedent('''
        import os, time
        seen = None
        log = open(os.path.expanduser("~/tokens-seen"), "w", buffering=1)
        while True:
            now = open(os.environ["BEARER_TOKEN_FILE"]).read()
            if now != seen:
                seen = now
                log.write("%f %s\\\\n" % (time.time(), now.strip()))
            time.sleep(0.2)
    ''')
    subprocess.Popen([sys.executable, "-c", witness], start_new_session=True)
    """
)


def _tokens(site: Site) -> list[tuple[float, str]]:
    """Return every token that alice's file has held, with the time when it was first seen."""
    text = site.hosts["ep1"].read("/home/alice/tokens-seen")
    return [(float(line.split()[0]), line.split()[1]) for line in text.splitlines()]


async def test_a_session_outlives_its_first_access_token_five_times_over(testbed, alice):
    await alice.start("interactive")
    await alice.run(WITNESS)

    async def six_seen() -> bool:
        return len(_tokens(testbed)) >= 6

    await until(six_seen, "the file has held six tokens", 600)
    seen = _tokens(testbed)
    trusting = ssl.create_default_context(cafile=testbed.folders.ca_certificate)
    keys = jwt.PyJWKClient(testbed.issuer + "/jwk", ssl_context=trusting)
    subject = next(person.subject for person in testbed.people if person.name == "alice")
    for (began, token), following in zip(seen, [*seen[1:], (time.time(), "")], strict=True):
        claims = jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token).key,
            algorithms=["RS256"],
            audience=testbed.storage_audience,
            issuer=testbed.issuer,
            options={"verify_exp": False},
        )
        assert claims["sub"] == subject
        # Good from the moment it appeared until the moment it was replaced.
        assert claims["nbf"] <= began + 1
        assert claims["exp"] > following[0]
    assert len({token for _, token in seen}) == len(seen)
    assert seen[-1][0] - seen[0][0] > 120, "longer than one access token lives"
