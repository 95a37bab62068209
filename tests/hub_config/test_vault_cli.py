"""``roost vault``, as an admin types it."""

from __future__ import annotations

import secrets

import pytest
from roost_hub.cli import main
from roost_shepherd.vault.crypto import Cipher
from roost_shepherd.vault.store import Vault

pytestmark = pytest.mark.unit

OLD, NEW = secrets.token_hex(32), secrets.token_hex(32)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "vault.sqlite"


@pytest.fixture
def hub(file):
    """Begin the hub with some keys; it runs on."""
    kept = []

    def hub(*keys):
        kept.append(Vault(f"sqlite:///{file}", Cipher(keys)))
        return kept[-1]

    yield hub
    for vault in kept:
        vault.close()


def put(vault, owner):
    vault.put_grant(
        owner,
        issuer="https://iam.example.org/",
        subject="s",
        refresh_token="planted-refresh",
        refresh_expires_at=None,
        scopes=[],
    )


@pytest.fixture
def roost(file, capsys, monkeypatch):
    def roost(way, *keys):
        monkeypatch.setenv("ROOST_VAULT_KEYS", ";".join(keys))
        code = main(["vault", way, str(file)])
        said = capsys.readouterr()
        assert "planted" not in said.out + said.err
        assert not any(key in said.out + said.err for key in keys)
        return code, said.out, said.err

    return roost


def test_a_key_is_changed_step_by_step(hub, roost):
    put(hub(OLD), "alice")
    assert "Only the newest key is needed." in roost("status", OLD)[1]

    code, _, said = roost("rotate-key", NEW, OLD)
    assert code == 1
    assert "restart them" in said

    running = hub(NEW, OLD)
    code, out, _ = roost("status", NEW, OLD)
    assert "1, 1 of them sealed with an older key" in out
    assert "The older keys are still needed" in out

    code, out, _ = roost("rotate-key", NEW, OLD)
    assert code == 0
    assert "1 secrets are sealed anew" in out
    assert "Only the newest key is needed." in roost("status", NEW)[1]
    assert running.grant("alice").refresh_token == "planted-refresh"
    assert hub(NEW).grant("alice").refresh_token == "planted-refresh"


def test_states_are_counted(hub, roost):
    vault = hub(OLD)
    for owner in ("alice", "bob", "carol"):
        put(vault, owner)
    vault.end_grant("carol")
    out = roost("status", OLD)[1].split()
    assert out[out.index("grants") + 1] == "3"
    assert out[out.index("live") + 1] == "2"
    assert out[out.index("revoked") + 1] == "1"


@pytest.mark.parametrize("way", ["status", "rotate-key"])
def test_a_wrong_key_is_a_sentence(hub, roost, way):
    put(hub(OLD), "alice")
    code, out, said = roost(way, NEW)
    assert (code, out) == (1, "")
    assert "do not open the vault" in said
    assert "Traceback" not in said


def test_no_key_is_a_sentence(hub, roost):
    hub(OLD)
    assert "ROOST_VAULT_KEYS" in roost("status")[2]


def test_no_vault_is_a_sentence_and_none_is_made(roost, file):
    code, _, said = roost("status", OLD)
    assert code == 1
    assert "There is no vault of tokens" in said
    assert not file.exists()


def test_keys_may_come_from_a_file(hub, file, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("ROOST_VAULT_KEYS", raising=False)
    put(hub(OLD), "alice")
    keys = tmp_path / "keys"
    keys.write_text(f"{OLD}\n")
    assert main(["vault", "status", str(file), "--keys", str(keys)]) == 0
    assert main(["vault", "status", str(file), "--keys", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err
