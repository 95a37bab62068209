from __future__ import annotations

import os
from pathlib import Path

import pytest
from roost_authenticator.authenticator import CLUSTER_SCOPES
from roost_hub.configure import configure
from roost_spawner.errors import SiteError
from roost_spawner.site.loader import load_site
from traitlets.config import Config

pytestmark = pytest.mark.unit

SHIPPED = Path(__file__).parents[2] / "hub-config" / "site.yaml"


def test_the_shipped_site_file_is_good_and_fits_the_reserved_slots():
    site = load_site(SHIPPED)
    interactive = site.profiles["interactive"]
    assert interactive.memory.limit <= 1280
    assert site.profiles["gpu"].partition == "gpu"


def test_what_follows_from_the_site_file_is_set():
    c = Config()
    c.IAMOAuthenticator.audiences = ["https://mine.example.org"]
    c.JupyterHub.extra_user_scopes = ["read:hub"]
    configure(c, SHIPPED)
    assert c.IAMOAuthenticator.audiences == [
        "https://mine.example.org",
        "https://ap.roost.test:9618",
        "https://ctl.roost.test:8443",
        "https://dcache.roost.test",
    ]
    assert set(CLUSTER_SCOPES) < set(c.IAMOAuthenticator.cluster_scopes)
    assert "storage.read:/" in c.IAMOAuthenticator.cluster_scopes
    assert c.JupyterHub.extra_user_scopes == ["read:hub", "custom:roost:session!user"]
    assert c.RoostSpawner.site_file == str(SHIPPED)
    assert c.JupyterHub.trusted_alt_names == ["DNS:hub.roost.test"]
    assert c.JupyterHub.cleanup_servers is False
    assert c.JupyterHub.init_spawners_timeout == 1
    assert Path(c.JupyterHub.template_paths[0], "spawn.html").is_file()


def test_a_hub_does_not_start_on_a_wrong_site_file(tmp_path):
    with pytest.raises(SiteError):
        configure(Config(), tmp_path / "none.yaml")


def test_the_shipped_configuration_runs(monkeypatch, tmp_path):
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "site.yaml").write_text(SHIPPED.read_text())
    for name in ("iam-client-secret", "crypt-key", "vault-key", "proxy-token"):
        (etc / name).write_text(f"the {name}\n")
    monkeypatch.setenv("ROOST_ETC", str(etc))
    monkeypatch.setenv("ROOST_STATE", str(tmp_path))
    monkeypatch.setenv("ROOST_IAM_ISSUER", "https://iam.roost.test:8443")
    c = Config()
    source = SHIPPED.with_name("jupyterhub_config.py").read_text()
    before = os.umask(0o022)
    try:
        exec(compile(source, "jupyterhub_config.py", "exec"), {"get_config": lambda: c})
    finally:
        assert os.umask(before) == 0o077
    assert c.JupyterHub.spawner_class == "roost"
    assert c.IAMOAuthenticator.client_secret == "the iam-client-secret"
    assert c.JupyterHub.hub_bind_url.startswith("https://127.0.0.1:")
    assert c.ConfigurableHTTPProxy.should_start is False
    assert c.ConfigurableHTTPProxy.auth_token == "the proxy-token"
    scopes = c.JupyterHub.load_roles[0]["scopes"]
    assert not any("admin" in scope for scope in scopes)
