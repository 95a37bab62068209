from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from roost_shepherd.errors import BadSetting, ProviderBusy, TokenInvalid, Transient
from roost_shepherd.keys import TokenVerifier, check_claims, same_issuer

from tests.support.provider_double import SigningKey, b64

pytestmark = pytest.mark.unit

ME = "https://ctl.example.org:8443"


@pytest.fixture
async def verifier(double, clock):
    verifier = TokenVerifier(double.issuer, clock=clock)
    yield verifier
    await verifier.close()


@pytest.fixture
def claims(double):
    def claims(**changes):
        made = double.claims("1111-alice", ME, "compute.read") | changes
        return {name: value for name, value in made.items() if value is not ...}

    return claims


def unsigned(claims, **header):
    head = b64(json.dumps({"alg": "none"} | header).encode())
    return f"{head}.{b64(json.dumps(claims).encode())}."


def hs256_with(public: bytes, claims, kid):
    head = b64(json.dumps({"alg": "HS256", "kid": kid}).encode())
    data = f"{head}.{b64(json.dumps(claims).encode())}"
    return f"{data}.{b64(hmac.digest(public, data.encode(), hashlib.sha256))}"


async def test_a_good_token_verifies(verifier, double, claims):
    found = await verifier.verify(double.keys[0].token(claims()), audience=ME)
    assert found["sub"] == "1111-alice"


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256"])
async def test_the_allowed_algorithms_verify(verifier, double, claims, alg):
    double.keys = [SigningKey("k", alg)]
    await verifier.verify(double.keys[0].token(claims()), audience=ME)


async def test_a_list_of_audiences_may_contain_us(verifier, double, claims):
    token = double.keys[0].token(claims(aud=["https://other", ME]))
    await verifier.verify(token, audience=ME)


async def test_the_issuers_slash_is_no_difference(double, claims, clock):
    verifier = TokenVerifier(double.issuer.rstrip("/"), clock=clock)
    await verifier.verify(double.keys[0].token(claims()), audience=ME)
    await verifier.verify(double.keys[0].token(claims(iss=double.issuer.rstrip("/"))), audience=ME)
    await verifier.close()


REFUSED = [
    ({"iss": "https://evil.example.org/"}, "issued by 'https://evil.example.org/'"),
    ({"iss": ...}, "issued by None"),
    ({"aud": "https://other"}, "is for 'https://other'"),
    ({"aud": "https://wlcg.cern.ch/jwt/v1/any"}, "is for"),
    ({"aud": ["https://other"]}, "is for"),
    ({"aud": ME + "/"}, "is for"),
    ({"aud": ...}, "no 'aud'"),
    ({"aud": {ME: 1}}, "neither a string"),
    ({"aud": []}, "is for"),
    ({"exp": timedelta(seconds=-11)}, "has expired"),
    ({"exp": ...}, "no 'exp'"),
    ({"exp": "tomorrow"}, "not a time"),
    ({"exp": True}, "not a time"),
    ({"nbf": timedelta(minutes=1)}, "not valid yet"),
    ({"iat": timedelta(minutes=1)}, "not valid yet"),
    ({"sub": ...}, "no 'sub'"),
    ({"sub": 7}, "subject"),
    ({"sub": ""}, "subject"),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSED, ids=lambda value: str(value)[:40])
async def test_wrong_claims_are_refused_with_a_sentence(
    verifier, double, claims, changes, sentence
):
    for name, value in changes.items():
        if isinstance(value, timedelta):  # from now
            changes = {name: time.time() + value.total_seconds()}
    with pytest.raises(TokenInvalid, match=sentence):
        await verifier.verify(double.keys[0].token(claims(**changes)), audience=ME)


async def test_clocks_may_differ_by_the_leeway(verifier, double, claims, clock):
    token = double.keys[0].token(claims())
    clock.ahead = 125
    await verifier.verify(token, audience=ME)
    with pytest.raises(TokenInvalid, match="expired"):
        await verifier.verify(token, audience=ME, leeway=0)


async def test_a_clock_that_is_ahead_is_named_and_may_be_allowed(verifier, double, claims, clock):
    token = double.keys[0].token(claims(iat=time.time(), nbf=time.time()))
    clock.ahead = -12
    with pytest.raises(TokenInvalid, match=r"clock is 1[23] s ahead of this host's; 10 s are"):
        await verifier.verify(token, audience=ME)
    patient = TokenVerifier(double.issuer, leeway=15.0, clock=clock)
    try:
        assert (await patient.verify(token, audience=ME))["iss"] == verifier.issuer
    finally:
        await patient.close()


async def test_alg_none_is_refused(verifier, double, claims):
    for alg in ("none", "None", "NONE", None, 7, ["RS256"]):
        with pytest.raises(TokenInvalid):
            await verifier.verify(unsigned(claims(), alg=alg, kid="k1"), audience=ME)


async def test_hs256_with_the_public_key_is_refused(verifier, double, claims):
    public = double.keys[0].private.public_key()
    for form in (serialization.Encoding.PEM, serialization.Encoding.DER):
        secret = public.public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(TokenInvalid, match="HS256"):
            await verifier.verify(hs256_with(secret, claims(), "k1"), audience=ME)


async def test_an_rsa_key_is_not_used_for_es256(verifier, double, claims):
    forged = double.keys[0].token(claims(), alg="ES256")
    with pytest.raises(TokenInvalid):
        await verifier.verify(forged, audience=ME)


async def test_a_forged_signature_under_a_known_kid_is_refused(verifier, claims):
    with pytest.raises(TokenInvalid, match="signature"):
        await verifier.verify(SigningKey("k1").token(claims()), audience=ME)


async def test_changed_claims_are_refused(verifier, double, claims):
    head, _, signature = double.keys[0].token(claims()).split(".")
    forged = f"{head}.{b64(json.dumps(claims(sub='root')).encode())}.{signature}"
    with pytest.raises(TokenInvalid, match="signature"):
        await verifier.verify(forged, audience=ME)


async def test_short_rsa_keys_are_not_taken(verifier, double, claims):
    double.keys.append(SigningKey("short", bits=1024))
    with pytest.raises(TokenInvalid):
        await verifier.verify(double.keys[1].token(claims()), audience=ME)


async def test_critical_extensions_are_refused(verifier, double, claims):
    token = double.keys[0].token(claims(), crit=["exp"])
    with pytest.raises(TokenInvalid):
        await verifier.verify(token, audience=ME)


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "....", "ä.ö.ü", "\x00", "e30.e30."])
async def test_what_is_no_token_is_refused(verifier, text):
    with pytest.raises(TokenInvalid):
        await verifier.verify(text, audience=ME)


async def test_a_huge_token_is_refused_unread(verifier):
    with pytest.raises(TokenInvalid, match="megabyte"):
        await verifier.verify("a" * 2_000_000, audience=ME)


async def test_ten_thousand_groups_are_fine(verifier, double, claims):
    groups = [f"/vo/a-rather-long-group-{n}" for n in range(10_000)]
    token = double.keys[0].token(claims(**{"wlcg.groups": groups}))
    assert len((await verifier.verify(token, audience=ME))["wlcg.groups"]) == 10_000


# -- keys ----------------------------------------------------------------------------------------


async def test_keys_are_fetched_once(verifier, double, claims):
    for _ in range(5):
        await verifier.verify(double.keys[0].token(claims()), audience=ME)
    assert double.jwks_fetches == 1


async def test_an_unknown_kid_fetches_the_keys_once_more(verifier, double, claims, clock):
    await verifier.verify(double.keys[0].token(claims()), audience=ME)
    double.keys.append(SigningKey("k2"))
    clock.ahead = 31
    await verifier.verify(double.keys[1].token(claims()), audience=ME)
    assert double.jwks_fetches == 2


async def test_unknown_kids_cannot_make_us_ask_again_and_again(verifier, double, claims, clock):
    await verifier.verify(double.keys[0].token(claims()), audience=ME)
    clock.ahead = 31
    for n in range(5):
        with pytest.raises(TokenInvalid, match="does not have"):
            await verifier.verify(SigningKey(f"x{n}").token(claims()), audience=ME)
    assert double.jwks_fetches == 2


async def test_tokens_of_others_do_not_make_us_ask(verifier, double, claims):
    foreign = SigningKey("x").token(claims(iss="https://evil.example.org"))
    with pytest.raises(TokenInvalid):
        await verifier.verify(foreign, audience=ME)
    assert double.jwks_fetches == 0


async def test_known_keys_serve_while_the_issuer_is_away(verifier, double, claims, clock):
    token = double.keys[0].token(claims(exp=time.time() + 9000))
    await verifier.verify(token, audience=ME)
    await double.stop()
    clock.ahead = 4000
    await verifier.verify(token, audience=ME)


async def test_without_keys_the_answer_is_transient(verifier, double, claims):
    double.jwks_fail = True
    with pytest.raises(Transient):
        await verifier.verify(double.keys[0].token(claims()), audience=ME)
    double.jwks_fail = False
    await verifier.verify(double.keys[0].token(claims()), audience=ME)


async def test_a_key_without_a_kid_serves_a_token_without_one(verifier, double, claims):
    double.keys = [SigningKey(None)]
    await verifier.verify(double.keys[0].token(claims()), audience=ME)


# -- id_tokens -----------------------------------------------------------------------------------


async def test_the_nonce_must_be_ours(verifier, double, claims):
    good = double.keys[0].token(claims(nonce="n1"))
    await verifier.verify(good, audience=ME, nonce="n1")
    for wrong in (good, double.keys[0].token(claims()), double.keys[0].token(claims(nonce=1))):
        with pytest.raises(TokenInvalid, match="nonce"):
            await verifier.verify(wrong, audience=ME, nonce="n2")


@pytest.mark.parametrize(
    "changes", [{"azp": "another"}, {"aud": [ME, "another"]}, {"aud": [ME, "x"], "azp": "x"}]
)
async def test_another_clients_id_token_is_refused(verifier, double, claims, changes):
    token = double.keys[0].token(claims(nonce="n", **changes))
    with pytest.raises(TokenInvalid, match="another client"):
        await verifier.verify(token, audience=ME, nonce="n")


# -- settings and discovery ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "issuer", ["http://iam.example.org/", "iam.example.org", "", "https://", "https://[", "ftp://x"]
)
def test_the_issuer_must_be_https(issuer):
    with pytest.raises(BadSetting, match="https://"):
        TokenVerifier(issuer)


async def test_an_issuer_that_calls_itself_otherwise_is_refused(double, clock):
    other = TokenVerifier(double.issuer.replace("127.0.0.1", "localhost"), clock=clock)
    with pytest.raises(ProviderBusy, match="must be that very URL"):
        await other.metadata()
    await other.close()


def test_same_issuer_forgives_one_slash_only():
    assert same_issuer("https://a/", "https://a")
    assert not same_issuer("https://a//", "https://a")
    assert not same_issuer("https://a", "https://A")
    assert not same_issuer("", "")


# -- RFC vectors and anything at all -------------------------------------------------------------


def test_the_signer_of_these_tests_agrees_with_rfc_7515():
    # RFC 7515, appendix A.1: base64url without padding.
    assert b64(bytes([3, 236, 255, 224, 193])) == "A-z_4ME"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "nonce", "azp", "x"])


@given(st.dictionaries(_names, _json))
def test_any_claims_are_either_right_or_refused(claims):
    try:
        check_claims(claims, issuer="https://i", audience=ME, nonce=None, now=1e9, leeway=0)
    except TokenInvalid:
        return
    assert claims["iss"] in ("https://i", "https://i/")
    assert ME in claims["aud"]
    assert claims["exp"] > 1e9


@given(st.binary(max_size=300))
def test_any_header_is_refused_without_a_crash(data):
    text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    verifier = TokenVerifier("https://iam.invalid")
    for token in (text, f"{text}.{text}.{text}", f"{text}.e30.{text}"):
        with pytest.raises(TokenInvalid):
            asyncio.run(verifier.verify(token, audience=ME))
