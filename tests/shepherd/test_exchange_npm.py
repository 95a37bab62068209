"""Token exchange at an independent provider: npm's, with rotation and reuse detection."""

from __future__ import annotations

import asyncio
import secrets
import time

import pytest
from roost_shepherd.provider import TokenAnswer
from roost_shepherd.shepherd import Shepherd
from roost_shepherd.vault.models import GrantState

from tests.support.iam import COMPUTE_SCOPES, Client, claims
from tests.support.local_iam import Someone, local_iam

pytestmark = pytest.mark.hub

ALICE = Someone("alice", "3a7a1c7e-0001", "alice-pw")
AUDIENCES = [f"https://service{n}.roost.test" for n in range(3)]
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class MayExchange(Client):
    """A client that an admin of the provider lets exchange tokens."""

    def registration(self):
        record = super().registration()
        return record | {"grant_types": [*record["grant_types"], EXCHANGE]}


@pytest.fixture(params=[MayExchange, Client], ids=["may", "may-not"])
def iam(request, tmp_path):
    client = request.param("roost-hub", secrets.token_urlsafe(24))
    folder = tmp_path / "iam"
    folder.mkdir()
    with local_iam(folder, people=[ALICE], clients=[client]) as iam:
        yield iam


@pytest.fixture
async def shepherd(iam, tmp_path):
    client = iam.clients[0]
    shepherd = Shepherd(
        issuer=iam.issuer,
        client_id=client.client_id,
        client_secret=client.client_secret,
        ca_certs=str(iam.ca_file),
        vault_url=f"sqlite:///{tmp_path}/vault.sqlite",
        vault_keys=[secrets.token_hex(32)],
        exchange=True,
    )
    tokens = await asyncio.to_thread(
        iam.login, client, ALICE.name, ALICE.password, resources=AUDIENCES
    )
    answer = TokenAnswer.from_response(dict(tokens.body), now=time.time())
    await shepherd.store_grant("alice", issuer=iam.issuer, subject=ALICE.subject, answer=answer)
    await shepherd._provider.verifier.metadata()
    yield shepherd
    await shepherd.stop()


async def test_narrowed_tokens_come_by_exchange_or_else_by_refresh(iam, shepherd):
    for audience in AUDIENCES:
        token = await shepherd.access_token("alice", audience=audience, scopes=COMPUTE_SCOPES[:1])
        told = claims(token.value)
        assert told["aud"] == audience
        assert told["scope"] == COMPUTE_SCOPES[0]
        assert told["sub"] == ALICE.subject
    assert (await shepherd.status("alice")).state is GrantState.LIVE
    issued = [line for line in iam.log.splitlines() if " token client=" in line]
    refreshed = [line for line in issued if "refresh_token" in line]
    exchanged = [line for line in issued if "token_exchange" in line]
    if isinstance(iam.clients[0], MayExchange):
        assert len(exchanged) == len(AUDIENCES)
        assert len(refreshed) == 1
    else:
        assert exchanged == []
        assert len(refreshed) == 1 + len(AUDIENCES)
    assert "revoked" not in iam.log
