from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roost_shepherd.errors import ProviderBusy
from roost_shepherd.expiry import backoff, deadline, good_for, jwt_expiry, patience
from roost_shepherd.provider import TokenAnswer, sort_error
from roost_shepherd.shepherd import AccessToken

pytestmark = pytest.mark.unit

times = st.floats(0, 4e9)
parts = st.floats(0, 1)


@given(times, st.floats(1, 1e6), parts)
def test_a_deadline_leaves_a_third_for_an_outage(issued, life, jitter):
    at = deadline(issued, issued + life, jitter=jitter)
    assert issued + life * 0.599 - 1e-3 <= at <= issued + life * 0.667 + 1e-3


@given(times, st.floats(1, 1e6), st.floats(0, 1e7), parts)
def test_a_fresh_token_is_good_whatever_is_asked(issued, life, min_valid, jitter):
    expires = issued + life
    assert (
        good_for(
            issued,
            issued_at=issued,
            renew_at=deadline(issued, expires, jitter=jitter),
            expires_at=expires,
            min_valid=min_valid,
        )
        or expires == issued
    )


@given(st.integers(-5, 10_000), parts, st.none() | st.floats(0, 1e9))
def test_backoff_is_bounded_and_minds_retry_after(failures, jitter, retry_after):
    wait = backoff(failures, jitter=jitter, retry_after=retry_after)
    assert 0.5 <= wait <= 600
    if retry_after is not None and retry_after <= 600:
        assert wait >= retry_after


@given(st.integers(1, 50), parts, st.floats(0, 1e9), st.floats(1, 1e4))
def test_a_wait_leaves_half_of_what_a_token_has_left(failures, jitter, retry_after, left):
    most = patience(1e9, issued_at=1e9 - left, expires_at=1e9 + left)
    wait = backoff(failures, jitter=jitter, retry_after=retry_after, most=most)
    assert wait <= max(3.0, left / 2 + 1e-3)


@given(st.text() | st.none())
def test_reading_an_expiry_never_fails(text):
    jwt_expiry(text)


def test_the_expiry_of_an_unsigned_refresh_token_is_read():
    assert jwt_expiry("eyJhbGciOiJub25lIn0.eyJleHAiOjE3MDB9.") == 1700


@given(st.floats(-1e4, 1e4), st.floats(0, 1e3))
def test_a_holder_never_comes_back_in_a_hot_loop(left, since):
    token = AccessToken("v", 1e9 + left, "a", frozenset(), renew_at=1e9 - since)
    assert token.refresh_in(1e9) >= 1


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [(120, 1120), ("120", 1120), (None, 1300), (-5, 1300), (True, 1300), ("x", 1300), ([], 1300)],
)
def test_expiries_are_absolute(expires_in, expected):
    body = {"access_token": "opaque", "expires_in": expires_in}
    assert TokenAnswer.from_response(body, now=1000).expires_at == expected


def test_scopes_not_named_are_those_asked_for():
    answer = TokenAnswer.from_response({"access_token": "a"}, now=0, requested=["x"])
    assert answer.scopes == {"x"}


@given(
    st.dictionaries(st.sampled_from(["access_token", "token_type", "scope"]), st.text() | st.none())
)
def test_any_answer_is_read_or_refused(body):
    try:
        assert TokenAnswer.from_response(body, now=0).access_token
    except ProviderBusy as error:
        assert "problem" in error.sentence  # noqa: PT017 - either outcome is right


SECRET = "eyJhbGciOiJub25lIn0.c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0."


@given(
    st.integers(400, 499),
    st.sampled_from(["invalid_grant", "invalid_client", "invalid_scope", SECRET, "", None, 7]),
    st.text(),
)
def test_no_words_of_the_provider_reach_an_error(status, code, text):
    body = {"error": code, "error_description": f"{text} Invalid refresh token: {SECRET}"}
    error = sort_error(status, body, issuer="https://iam.example.org")
    assert SECRET not in f"{error} {error!r} {error.sentence} {error.detail} {error.args}"
