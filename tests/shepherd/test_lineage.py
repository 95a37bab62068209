"""The secret by which a hub tells its own sessions from those of its copy."""

from __future__ import annotations

import secrets

import pytest
from roost_shepherd.vault.crypto import Cipher
from roost_shepherd.vault.store import Vault

pytestmark = pytest.mark.unit

KEY = secrets.token_hex(32)


def lineage(path):
    vault = Vault(f"sqlite:///{path}", Cipher([KEY]))
    try:
        found = vault.lineage()
        assert vault.lineage() == found
        return found
    finally:
        vault.close()


def test_a_vault_keeps_its_lineage_and_another_with_the_same_key_has_its_own(tmp_path):
    ours = lineage(tmp_path / "one.sqlite")
    assert len(ours) == 32
    assert lineage(tmp_path / "one.sqlite") == ours
    assert lineage(tmp_path / "two.sqlite") != ours
