"""The testbed's identity provider, as its clients see it."""

from __future__ import annotations

import pytest
from roost_shepherd.errors import TokenInvalid
from roost_shepherd.keys import TokenVerifier

from tests.support.iam import COMPUTE_SCOPES, Client, Iam, Refused, claims

pytestmark = pytest.mark.pool


@pytest.fixture
def iam(testbed):
    return Iam(testbed.issuer, testbed.folders.ca_certificate)


@pytest.fixture
def client(testbed):
    return Client("roost-test", testbed.secret("iam-client-roost-test"))


def test_the_issuer_is_the_same_for_all(iam, testbed):
    assert iam.metadata()["issuer"] == testbed.issuer


@pytest.mark.parametrize("name", ["alice", "bob", "carol"])
def test_tokens_are_shaped_as_the_wlcg_profile_says(iam, client, testbed, name):
    person = next(p for p in testbed.people if p.name == name)
    tokens = iam.login(client, name, person.password, resources=[testbed.ap_audience])
    found = claims(tokens.access_token)
    assert found["sub"] == person.subject
    assert found["aud"] == testbed.ap_audience
    assert found["wlcg.ver"] == "1.0"
    assert found["wlcg.groups"] == list(person.groups)
    assert set(COMPUTE_SCOPES) <= set(found["scope"].split())
    assert found["exp"] - found["iat"] == 120
    assert found["nbf"] <= found["iat"]
    assert tokens.refresh_token is not None


async def test_tokens_verify_for_their_audience_and_no_other(iam, client, testbed):
    tokens = iam.login(client, "alice", "alice-pw", resources=[testbed.broker_audience])
    verifier = TokenVerifier(testbed.issuer, ca_certs=str(iam.ca_file))
    await verifier.verify(tokens.access_token, audience=testbed.broker_audience)
    with pytest.raises(TokenInvalid, match="not for"):
        await verifier.verify(tokens.access_token, audience=testbed.ap_audience)
    await verifier.close()


def test_a_refresh_token_serves_once_and_its_reuse_ends_the_grant(iam, client, testbed):
    first = iam.login(client, "bob", "bob-pw", resources=[testbed.ap_audience])
    second = iam.refresh(client, first.refresh_token, resource=testbed.ap_audience)
    with pytest.raises(Refused, match="invalid_grant"):
        iam.refresh(client, first.refresh_token, resource=testbed.ap_audience)
    with pytest.raises(Refused, match="invalid_grant"):
        iam.refresh(client, second.refresh_token, resource=testbed.ap_audience)


def test_an_audience_that_was_not_asked_for_at_login_is_not_given_later(iam, client, testbed):
    tokens = iam.login(client, "bob", "bob-pw", resources=[testbed.ap_audience])
    with pytest.raises(Refused, match="invalid_target"):
        iam.refresh(client, tokens.refresh_token, resource=testbed.broker_audience)


def test_the_hub_itself_may_read_and_is_no_person(iam, testbed):
    hub = Client("roost-hub", testbed.secret("iam-client-roost-hub"))
    token = iam.client_credentials(
        hub, resource=testbed.broker_audience, scopes=["compute.read"]
    ).access_token
    assert claims(token)["sub"] == "roost-hub"
    assert claims(token)["scope"] == "compute.read"
    assert "wlcg.groups" not in claims(token)


@pytest.mark.parametrize(("name", "password"), [("mallory", "mallory-pw"), ("alice", "bob-pw")])
def test_nobody_logs_in_without_account_and_password(iam, client, name, password):
    with pytest.raises(Refused, match="do not belong together"):
        iam.login(client, name, password)
