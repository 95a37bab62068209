"""Slurm's token, accounts, and the API version: the pure parts."""

from __future__ import annotations

from types import SimpleNamespace

import jwt
import pytest
from roost_authenticator.errors import NotMapped
from roost_spawner.clusters.slurm.broker import tokens
from roost_spawner.clusters.slurm.broker.accounts import Accounts
from roost_spawner.clusters.slurm.broker.errors import (
    BadRequest,
    Forbidden,
    SchedulerFailed,
    ScopeMissing,
    Unauthenticated,
)
from roost_spawner.clusters.slurm.broker.slurmrest import check_job_id, choose_version

pytestmark = pytest.mark.unit

KEY = b"k" * 32


def test_a_minted_token_names_the_account_and_lives_a_minute():
    token = tokens.mint("alice", KEY, now=1000.7)
    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    claims = jwt.decode(token, KEY, algorithms=["HS256"], options={"verify_exp": False})
    assert claims == {"sun": "alice", "iat": 1000, "exp": 1060}


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "abc"])
def test_no_bearer_token_is_a_challenge_without_an_error_code(header):
    with pytest.raises(Unauthenticated) as caught:
        tokens.bearer(header)
    assert caught.value.challenge == ""


def test_the_scheme_is_taken_in_any_case():
    assert tokens.bearer("bearer  abc") == "abc"


@pytest.mark.parametrize(
    ("scope", "found"),
    [
        ("compute.read compute.create", {"compute.read", "compute.create"}),
        (["compute.read", 1], {"compute.read"}),
        (None, set()),
        (7, set()),
    ],
)
def test_scopes_are_words_and_nothing_else(scope, found):
    caller = tokens.caller_of({"iss": "https://i", "sub": "s", "scope": scope})
    assert caller.scopes == found


def test_a_scope_that_only_begins_alike_is_not_taken():
    caller = tokens.caller_of({"iss": "i", "sub": "s", "scope": "compute.createx compute.create:/"})
    with pytest.raises(ScopeMissing):
        caller.require("compute.create")


PASSWD = {
    "alice": SimpleNamespace(
        pw_name="alice", pw_uid=2001, pw_dir="/home/alice", pw_shell="/bin/bash"
    ),
    "daemonish": SimpleNamespace(pw_name="daemonish", pw_uid=999, pw_dir="/", pw_shell=""),
    "toor2": SimpleNamespace(pw_name="toor2", pw_uid=0, pw_dir="/root", pw_shell="/bin/sh"),
    "overflow": SimpleNamespace(pw_name="overflow", pw_uid=65534, pw_dir="/", pw_shell=""),
    "root": SimpleNamespace(pw_name="root", pw_uid=0, pw_dir="/root", pw_shell="/bin/sh"),
    "slurm": SimpleNamespace(pw_name="slurm", pw_uid=64030, pw_dir="/", pw_shell=""),
}


def accounts(name):
    def mapped(issuer, subject):
        if name is None:
            raise NotMapped("nobody")
        return name

    return Accounts(mapped, lookup=PASSWD.__getitem__)


async def test_an_account_that_the_system_writes_otherwise_is_refused_with_both_names():
    """As by a name service that does not tell upper case from lower."""
    lenient = Accounts(lambda _issuer, _subject: "Alice", lookup=lambda _: PASSWD["alice"])
    with pytest.raises(Forbidden, match="account Alice, which is called alice on this cluster"):
        await lenient.of("https://i", "s")


async def test_an_ordinary_account_is_taken():
    found = await accounts("alice").of("https://i", "s")
    assert (found.name, found.uid, found.home) == ("alice", 2001, "/home/alice")


@pytest.mark.parametrize(
    "name", [None, "root", "slurm", "daemonish", "toor2", "overflow", "nosuch", "../x", "a b", ""]
)
async def test_root_system_unknown_and_impossible_accounts_are_refused(name):
    with pytest.raises(Forbidden):
        await accounts(name).of("https://i", "s")


@pytest.mark.parametrize(
    ("offered", "version"),
    [
        ((40, 41, 42), "v0.0.42"),
        ((42, 43, 44, 45), "v0.0.42"),
        ((43, 44, 45), "v0.0.43"),
    ],
)
def test_the_oldest_known_api_version_that_is_offered_is_taken(offered, version):
    text = " ".join(f'"/slurm/v0.0.{number}/job/submit"' for number in offered)
    assert choose_version(text.encode()) == version
    assert choose_version(text.replace("/", "\\/").encode()) == version


def test_too_old_a_slurm_is_named():
    with pytest.raises(SchedulerFailed, match="older than"):
        choose_version(b'"/slurm/v0.0.40/job/submit"')


@pytest.mark.parametrize(
    "job_id", ["", "0", "01", "-1", "1/2", "1?x", "abc", "1 ", "9" * 11, "\u0661"]
)
def test_a_job_id_is_a_plain_number(job_id):
    with pytest.raises(BadRequest):
        check_job_id(job_id)
