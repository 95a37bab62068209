from __future__ import annotations

import secrets
import time

import pytest
from roost_shepherd.provider import TokenAnswer
from roost_shepherd.shepherd import Shepherd
from roost_shepherd.timing import Timing

from tests.support.postgres import Postgres
from tests.support.provider_double import ProviderDouble

AP = "https://ap.example.org:9618"
SCOPES = ("compute.read", "compute.create")


class Clock:
    """A clock that stands, and goes on only when it is pushed: a slow machine changes nothing."""

    def __init__(self) -> None:
        self._stands_at: float | None = time.time()
        self.ahead = 0.0

    def run(self) -> None:
        """Go on with real time, for tests in which it has to pass, or other processes take part."""
        self._stands_at = None

    def __call__(self) -> float:
        return (time.time() if self._stands_at is None else self._stands_at) + self.ahead


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def real_time(clock):
    clock.run()


@pytest.fixture(scope="session")
def postgres():
    postgres = Postgres()
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.remove()


@pytest.fixture
async def double():
    double = ProviderDouble()
    await double.start()
    yield double
    await double.stop()


@pytest.fixture
def vault_key():
    return secrets.token_hex(32)


@pytest.fixture
def vault_url(tmp_path):
    return f"sqlite:///{tmp_path}/vault.sqlite"


@pytest.fixture(params=["sqlite", "postgresql"])
def each_url(request, tmp_path):
    """Return the URL of an empty vault, on each kind of database in turn."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres").url()
    return f"sqlite:///{tmp_path}/vault.sqlite"


@pytest.fixture
async def make_shepherd(double, clock, tmp_path, vault_key, vault_url):
    """Make shepherds over one vault; all are stopped in the end."""
    made = []

    def make(**settings) -> Shepherd:
        timing = Timing(clock=clock, jitter=lambda: 0.0, lease=settings.pop("lease", 5.0))
        shepherd = Shepherd(
            timing=timing,
            **{
                "issuer": double.issuer,
                "client_id": double.client_id,
                "client_secret": double.client_secret,
                "vault_url": vault_url,
                "answers_folder": str(tmp_path / "answers"),
                "vault_keys": [vault_key],
            }
            | settings,
        )
        made.append(shepherd)
        return shepherd

    yield make
    for shepherd in made:
        await shepherd.stop()


@pytest.fixture
def shepherd(make_shepherd):
    return make_shepherd()


@pytest.fixture
def log_in(double):
    """Log a user in at the double, and hand the grant to a shepherd."""

    async def log_in(shepherd: Shepherd, owner: str = "alice", subject: str = "1111-alice"):
        grant = double.login(subject)
        answer = TokenAnswer(
            access_token="from-the-login",
            expires_at=0.0,
            scopes=frozenset(SCOPES),
            refresh_token=grant.refresh_token,
        )
        await shepherd.store_grant(owner, issuer=double.issuer, subject=subject, answer=answer)
        return grant

    return log_in
