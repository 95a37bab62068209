"""New keys for a vault that is in use."""

from __future__ import annotations

import secrets
import sqlite3
import subprocess
import sys

import pytest
from roost_shepherd.errors import VaultLocked, VaultUnusable
from roost_shepherd.vault.crypto import Cipher
from roost_shepherd.vault.records import StoredToken, Want
from roost_shepherd.vault.rekey import Rekey
from roost_shepherd.vault.store import Vault

pytestmark = pytest.mark.unit
on_sqlite = pytest.mark.parametrize("each_url", ["sqlite"], indirect=True)

WANT = Want("https://ap.example.org:9618", frozenset({"compute.read"}))
OLD, NEW = secrets.token_hex(32), secrets.token_hex(32)
OWNERS = [f"user{n}" for n in range(250)]


@pytest.fixture
def url(each_url):
    return each_url


@pytest.fixture
def opened():
    kept = []

    def opened(kind, url, *keys):
        kept.append(kind(url, Cipher(keys)))
        return kept[-1]

    yield opened
    for one in kept:
        one.close()


def fill(vault, owners=OWNERS):
    for owner in owners:
        vault.put_grant(
            owner,
            issuer="https://iam.example.org/",
            subject=f"of-{owner}",
            refresh_token=f"refresh-{owner}",
            refresh_expires_at=None,
            scopes=["compute.read"],
        )
        token = StoredToken(f"access-{owner}", WANT.scopes, 1.0, 2.0, 3.0, taken=True)
        vault.commit_renewal(
            vault.grant(owner), WANT, token, refresh_token=None, refresh_expires_at=None
        )


def dump(tmp_path):
    with sqlite3.connect(tmp_path / "vault.sqlite") as database:
        lines = list(database.iterdump())
    database.close()
    return lines


@pytest.fixture
def vault(url, opened):
    """A vault that was made with the old key and is now used with both."""
    fill(opened(Vault, url, OLD))
    return opened(Vault, url, NEW, OLD)


def test_all_is_sealed_anew_and_the_old_key_can_go(vault, url, opened):
    rekey = opened(Rekey, url, NEW, OLD)
    assert rekey.status().older == 2 * len(OWNERS)
    assert rekey.rotate() == 2 * len(OWNERS)
    assert rekey.status().older == 0
    alone = opened(Vault, url, NEW)
    for owner in OWNERS:
        grant, token = alone.look_up(owner, WANT)
        assert (grant.refresh_token, token.value) == (f"refresh-{owner}", f"access-{owner}")
    with pytest.raises(VaultLocked):
        opened(Vault, url, OLD)


def test_it_works_while_the_hub_renews(vault, url, opened):
    rekey = opened(Rekey, url, NEW, OLD)
    real, renewed = rekey._reseal, []

    def reseal(older):
        owner = OWNERS[-1 - len(renewed)]  # read before, not sealed anew yet
        token = StoredToken("access-new", WANT.scopes, 4.0, 5.0, 6.0, taken=False)
        assert vault.commit_renewal(
            vault.grant(owner), WANT, token, refresh_token="rotated", refresh_expires_at=None
        )
        renewed.append(owner)
        return real(older)

    rekey._reseal = reseal
    rekey.rotate()
    assert len(renewed) > 2
    alone = opened(Vault, url, NEW)
    for owner in renewed:
        grant, token = alone.look_up(owner, WANT)
        assert (grant.refresh_token, token.value) == ("rotated", "access-new")


@on_sqlite
def test_a_hub_that_does_not_know_the_new_key_is_not_locked_out(url, opened, tmp_path):
    hub = opened(Vault, url, OLD)
    fill(hub, OWNERS[:3])
    before = dump(tmp_path)
    with pytest.raises(VaultLocked, match="does not know the newest key yet"):
        opened(Rekey, url, NEW, OLD).rotate()
    assert dump(tmp_path) == before
    assert hub.grant(OWNERS[0]).refresh_token


@on_sqlite
@pytest.mark.parametrize("keys", [[NEW], ["9" * 64], ["9" * 64, NEW]])
def test_a_wrong_key_refuses_and_changes_nothing(vault, url, opened, tmp_path, keys):
    before = dump(tmp_path)
    with pytest.raises(VaultLocked, match="nothing was changed"):
        opened(Rekey, url, *keys)
    assert dump(tmp_path) == before


@on_sqlite
def test_it_makes_no_vault_where_there_is_none(url, opened, tmp_path):
    with pytest.raises(VaultUnusable, match="There is no vault"):
        opened(Rekey, url, NEW)
    assert list(tmp_path.iterdir()) == []


@on_sqlite
def test_a_vault_of_another_version_is_left_alone(vault, url, opened, tmp_path):
    with sqlite3.connect(tmp_path / "vault.sqlite") as database:
        database.execute("UPDATE vault_version SET version_num = '0000'")
    database.close()
    with pytest.raises(VaultUnusable, match="another version"):
        opened(Rekey, url, NEW, OLD)


def test_twice_is_harmless(vault, url, opened):
    rekey = opened(Rekey, url, NEW, OLD)
    rekey.rotate()
    assert rekey.rotate() == 0


@on_sqlite
def test_nothing_that_the_old_key_opens_is_left_in_the_files(vault, url, opened, tmp_path):
    rekey = opened(Rekey, url, NEW, OLD)
    with sqlite3.connect(tmp_path / "vault.sqlite") as database:
        (sealed,) = database.execute("SELECT refresh_token FROM grants LIMIT 1").fetchone()
    database.close()
    rekey.rotate()
    for path in tmp_path.iterdir():
        assert sealed not in path.read_bytes(), path.name


DYING = """
import os, sys
from roost_shepherd.vault.crypto import Cipher
from roost_shepherd.vault.rekey import Rekey
rekey, left, real = Rekey(sys.argv[1], Cipher(sys.argv[2:])), [3], None
real = rekey._cipher.seal
def seal(secret, place):
    left.append(place)
    if len(left) > 250:
        os._exit(9)  # in the middle of a transaction
    return real(secret, place)
rekey._cipher.seal = seal
rekey.rotate()
"""


def test_killed_in_the_middle_it_goes_on_where_it_was(vault, url, opened):
    died = subprocess.run([sys.executable, "-c", DYING, url, NEW, OLD], check=False)
    assert died.returncode == 9
    status = opened(Rekey, url, NEW, OLD).status()
    assert 0 < status.older < status.secrets
    for owner in OWNERS:  # the hub reads on
        assert vault.grant(owner).refresh_token == f"refresh-{owner}"
    rekey = opened(Rekey, url, NEW, OLD)
    assert rekey.rotate() == status.older
    assert opened(Vault, url, NEW).grant("user0").refresh_token == "refresh-user0"
