from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import stat
import sys
from base64 import b64encode, urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from roost_shepherd.errors import BadSetting, VaultLocked, VaultUnusable
from roost_shepherd.vault.crypto import Cipher
from roost_shepherd.vault.models import Base
from roost_shepherd.vault.records import StoredToken, Want
from roost_shepherd.vault.store import Vault

pytestmark = pytest.mark.unit
on_sqlite = pytest.mark.parametrize("each_url", ["sqlite"], indirect=True)

REFRESH = "planted-refresh-token-" + "r" * 40
ACCESS = "planted-access-token-" + "a" * 40
WANT = Want("https://ap.example.org:9618", frozenset({"compute.read"}))


def key() -> str:
    return secrets.token_hex(32)


@pytest.fixture
def url(each_url):
    return each_url


@pytest.fixture
def open_vault(url, clock):
    vaults = []

    def open_vault(*keys: str) -> Vault:
        vaults.append(Vault(url, Cipher(keys), clock=clock))
        return vaults[-1]

    yield open_vault
    for vault in vaults:
        vault.close()


def fill(vault: Vault, owner="alice", refresh=REFRESH) -> None:
    vault.put_grant(
        owner,
        issuer="https://iam.example.org/",
        subject="1111",
        refresh_token=refresh,
        refresh_expires_at=None,
        scopes=["compute.read"],
    )
    vault.commit_renewal(
        vault.grant(owner),
        WANT,
        StoredToken(ACCESS, WANT.scopes, 1.0, 2.0, 3.0, taken=True),
        refresh_token=None,
        refresh_expires_at=None,
    )


def begin(vault, holder, seconds=30):
    return vault.begin_renewal(
        "alice", WANT, holder=holder, seconds=seconds, needed=lambda grant, token: True
    )


def files(tmp_path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_what_is_kept_comes_back(open_vault):
    one = key()
    fill(open_vault(one))
    again = open_vault(one)
    grant, token = again.look_up("alice", WANT)
    assert grant.refresh_token == REFRESH
    assert token.value == ACCESS


@on_sqlite
def test_the_files_are_for_their_owner_only(open_vault, tmp_path):
    before = os.umask(0)
    try:
        fill(open_vault(key()))
    finally:
        os.umask(before)
    names = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert names == dict.fromkeys(("vault.sqlite", "vault.sqlite-wal", "vault.sqlite-shm"), 0o600)


@on_sqlite
def test_a_file_that_others_could_read_is_closed_to_them(open_vault, tmp_path):
    (tmp_path / "vault.sqlite").touch(0o666)
    (tmp_path / "vault.sqlite").chmod(0o666)
    open_vault(key())
    assert stat.S_IMODE((tmp_path / "vault.sqlite").stat().st_mode) == 0o600


@on_sqlite
def test_no_token_is_in_the_files(open_vault, tmp_path):
    vault = open_vault(key())
    fill(vault)
    with_wal = files(tmp_path)
    assert with_wal["vault.sqlite-wal"]
    vault.close()
    for content in (*with_wal.values(), *files(tmp_path).values()):
        assert REFRESH.encode() not in content
        assert ACCESS.encode() not in content
        assert b"planted" not in content


@on_sqlite
def test_a_wrong_key_is_refused_and_changes_nothing(open_vault, tmp_path):
    right = key()
    vault = open_vault(right)
    fill(vault)
    vault.close()
    before = files(tmp_path)
    with pytest.raises(VaultLocked, match="nothing was changed"):
        open_vault(key())
    assert files(tmp_path)["vault.sqlite"] == before["vault.sqlite"]
    assert open_vault(right).grant("alice").refresh_token == REFRESH


def test_keys_rotate_newest_first(open_vault):
    old, new = key(), key()
    fill(open_vault(old))
    both = open_vault(new, old)
    assert both.grant("alice").refresh_token == REFRESH
    fill(both, "bob")
    # Neither can be dropped while something may be sealed with it.
    for alone in (old, new):
        with pytest.raises(VaultLocked):
            open_vault(alone)
    assert open_vault(old, new).grant("bob").refresh_token == REFRESH


@pytest.mark.parametrize("keys", [[], [""], ["  "], ["short"], ["z" * 64], ["a" * 63], ["é" * 44]])
def test_malformed_keys_are_refused_and_not_repeated(keys):
    with pytest.raises(VaultLocked, match="ROOST_VAULT_KEYS") as caught:
        Cipher(keys)
    assert not any(len(one.strip()) > 2 and one in str(caught.value) for one in keys)


def test_keys_may_be_base64_or_hex():
    raw = bytes(range(220, 252))
    sealed = Cipher([raw.hex()]).seal("x", "p")
    for form in (b64encode(raw).decode(), urlsafe_b64encode(raw).decode()):
        assert Cipher([form]).open(sealed, "p") == "x"


@on_sqlite
def test_a_token_moved_into_anothers_row_is_not_handed_out(open_vault, tmp_path):
    vault = open_vault(key())
    fill(vault, "alice")
    fill(vault, "mallory")
    with sqlite3.connect(tmp_path / "vault.sqlite") as database:
        database.execute(
            "UPDATE grants SET refresh_token = (SELECT refresh_token FROM grants"
            " WHERE owner = 'alice') WHERE owner = 'mallory'"
        )
    database.close()
    with pytest.raises(VaultLocked, match="changed by someone else"):
        vault.grant("mallory")


@on_sqlite
def test_a_vault_of_a_newer_version_is_refused(open_vault, tmp_path):
    one = key()
    open_vault(one).close()
    with sqlite3.connect(tmp_path / "vault.sqlite") as database:
        database.execute("UPDATE vault_version SET version_num = '9999'")
    database.close()
    with pytest.raises(VaultUnusable, match="newer Roost"):
        open_vault(one)


def test_the_migrations_make_the_tables_of_the_models(open_vault):
    vault = open_vault(key())
    with vault._engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": "vault_version", "compare_type": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_two_processes_may_open_an_empty_vault_at_once(open_vault):
    one = key()
    with ThreadPoolExecutor(4) as threads:
        vaults = list(threads.map(lambda _: open_vault(one), range(4)))
    fill(vaults[0])
    assert {vault.grant("alice").refresh_token for vault in vaults} == {REFRESH}


def test_a_driver_that_is_not_installed_is_named_with_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for url in ("postgresql://roost:hidden@db/roost", "postgresql+psycopg://db/roost"):
        with pytest.raises(BadSetting, match=r"psycopg.*jupyterhub-roost\[postgresql\]") as caught:
            Vault(url, Cipher([key()]))
        assert "hidden" not in str(caught.value)
    for url in ("oracle://db/roost", "thing://db/roost"):
        with pytest.raises(BadSetting, match="there is no driver"):
            Vault(url, Cipher([key()]))


def test_a_postgresql_that_is_not_there_is_told_without_its_password(tmp_path):
    url = f"postgresql://roost:hidden@/roost?host={tmp_path}"
    with pytest.raises(VaultUnusable) as caught:
        Vault(url, Cipher([key()]))
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("bad", ["", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_a_vault_that_would_not_last_is_refused(bad):
    with pytest.raises(BadSetting, match="vault_url"):
        Vault(bad, Cipher([key()]))


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(VaultUnusable, match="/nonexistent/vault"):
        Vault("sqlite:////nonexistent/vault", Cipher([key()]))


@on_sqlite
def test_a_file_that_is_no_database_is_left_alone(open_vault, tmp_path):
    (tmp_path / "vault.sqlite").write_text("my thesis, by alice\n" * 200)
    with pytest.raises(VaultUnusable):
        open_vault(key())
    assert (tmp_path / "vault.sqlite").read_text() == "my thesis, by alice\n" * 200


def test_only_one_holder_has_a_lease(open_vault):
    one = key()
    first, second = open_vault(one), open_vault(one)
    fill(first)
    grant = first.grant("alice").id
    assert begin(first, "a").leased
    assert not begin(second, "b").leased
    assert begin(first, "a").leased
    second.drop_lease(grant, "b")
    assert not begin(second, "b").leased
    first.drop_lease(grant, "a")
    assert begin(second, "b").leased


def test_a_holder_that_lets_its_lease_run_out_is_given_a_little_more_time(open_vault, clock):
    vault = open_vault(key())
    fill(vault)
    assert begin(vault, "dead").leased
    clock.ahead = 29
    assert not begin(vault, "b").overdue
    clock.ahead = 31
    assert begin(vault, "b").overdue
    assert not begin(vault, "c").leased
    clock.ahead = 31 + 6
    assert begin(vault, "b").leased
    assert not begin(vault, "dead").leased


def test_time_in_which_the_database_was_away_is_not_counted_as_given(open_vault, clock):
    vault = open_vault(key())
    fill(vault)
    assert begin(vault, "a").leased
    clock.ahead = 31
    assert begin(vault, "b").overdue
    clock.ahead = 600
    again = begin(vault, "b")
    assert again.overdue
    assert not again.leased
    vault.drop_lease(vault.grant("alice").id, "a")
    assert begin(vault, "b").leased


def test_a_commit_whose_answer_was_lost_may_be_tried_again(open_vault):
    vault = open_vault(key())
    fill(vault)
    grant = vault.grant("alice")
    token = StoredToken("fresh", WANT.scopes, 1.0, 2.0, 3.0, taken=True)
    for _ in range(2):
        assert vault.commit_renewal(
            grant, WANT, token, refresh_token="rotated", refresh_expires_at=None
        )
    found, fresh = vault.look_up("alice", WANT)
    assert found.refresh_token == "rotated"
    assert fresh.value == "fresh"


def test_a_renewal_that_began_before_a_login_cannot_overwrite_it(open_vault):
    vault = open_vault(key())
    fill(vault)
    stale = vault.grant("alice")
    fill(vault, refresh="from-the-new-login")
    token = StoredToken("x", WANT.scopes, 1.0, 2.0, 3.0, taken=True)
    assert not vault.commit_renewal(
        stale, WANT, token, refresh_token="rotated", refresh_expires_at=None
    )
    assert vault.grant("alice").refresh_token == "from-the-new-login"


def test_records_show_no_token(open_vault, caplog):
    caplog.set_level(logging.DEBUG)
    vault = open_vault(key())
    fill(vault)
    assert "planted" not in repr(vault.look_up("alice", WANT))
    assert "planted" not in caplog.text
