"""What only time shows.  The file's name puts it at the end of the tier."""

from __future__ import annotations

import time

import jwt
import pytest

pytestmark = pytest.mark.pool


def test_a_session_outlives_its_first_access_token_five_times_over(testbed, long_session):
    until = time.monotonic() + 600
    while len(long_session.tokens()) < 6 and time.monotonic() < until:
        assert long_session.lives(), "the session has ended"
        time.sleep(2)
    seen = long_session.tokens()
    assert len(seen) >= 6
    keys = jwt.PyJWKClient(
        testbed.issuer + "/jwk", ssl_context=_trusting(testbed.folders.ca_certificate)
    )
    for (began, token), following in zip(seen, [*seen[1:], (time.time(), "")], strict=True):
        claims = jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token).key,
            algorithms=["RS256"],
            audience=testbed.storage_audience,
            issuer=testbed.issuer,
            options={"verify_exp": False},
        )
        subject = next(p.subject for p in testbed.people if p.name == long_session.owner)
        assert claims["sub"] == subject
        # Good from the moment it appeared until the moment it was replaced.
        assert claims["nbf"] <= began + 1
        assert claims["exp"] > following[0]
    assert len({token for _, token in seen}) == len(seen)
    assert seen[-1][0] - seen[0][0] > 120, "longer than one access token lives"


def _trusting(ca_certificate):
    import ssl  # noqa: PLC0415 - only here

    return ssl.create_default_context(cafile=ca_certificate)
