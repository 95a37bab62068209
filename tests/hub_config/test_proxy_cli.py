"""``roost proxy``: what it takes from the hub's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from roost_hub import cli, proxy_cli
from roost_hub.live.check import Unusable
from traitlets.config import Config

pytestmark = pytest.mark.hub

TOKEN = "shared-by-hub-and-proxy"


@pytest.fixture
def config(tmp_path):
    found = Config()
    found.JupyterHub.bind_url = "https://:9443/"
    found.JupyterHub.hub_bind_url = "https://127.0.0.1:8081"
    found.JupyterHub.internal_ssl = True
    found.JupyterHub.internal_certs_location = str(tmp_path / "internal")
    found.JupyterHub.ssl_key = "/etc/roost/host.key"
    found.JupyterHub.ssl_cert = "/etc/roost/host.crt"
    found.ConfigurableHTTPProxy.should_start = False
    found.ConfigurableHTTPProxy.auth_token = TOKEN
    return found


def option(command, name):
    return command[command.index(name) + 1]


def test_the_proxy_listens_where_the_hub_would_have_it(config):
    command, token = proxy_cli.prepare(config)
    assert token == TOKEN
    assert TOKEN not in command
    assert option(command, "--port") == "9443"
    assert option(command, "--api-ip") == "127.0.0.1"
    assert option(command, "--api-port") == "8001"
    assert option(command, "--default-target") == "https://127.0.0.1:8081"
    assert option(command, "--ssl-key") == "/etc/roost/host.key"
    assert "--host-routing" not in command
    for name in ("--api-ssl-key", "--client-ssl-key"):
        assert Path(option(command, name)).stat().st_mode & 0o077 == 0


def test_the_certificates_of_an_earlier_start_are_used_again(config):
    first, _ = proxy_cli.prepare(config)
    certificate = Path(option(first, "--client-ssl-cert")).read_text()
    again, _ = proxy_cli.prepare(config)
    assert again == first
    assert Path(option(again, "--client-ssl-cert")).read_text() == certificate


def test_users_hosts_below_a_domain_are_routed_by_host(config):
    config.JupyterHub.subdomain_host = "https://hub.example.org:9443"
    command, _ = proxy_cli.prepare(config)
    assert "--host-routing" in command


def test_a_hub_that_starts_its_own_proxy_is_told(config):
    config.ConfigurableHTTPProxy.should_start = True
    with pytest.raises(Unusable, match=r"should_start = False"):
        proxy_cli.prepare(config)


def test_without_a_shared_token_nothing_is_started(config, monkeypatch):
    monkeypatch.delenv("CONFIGPROXY_AUTH_TOKEN", raising=False)
    del config.ConfigurableHTTPProxy["auth_token"]
    with pytest.raises(Unusable, match=r"auth_token"):
        proxy_cli.prepare(config)


def test_a_configuration_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert cli.main(["proxy", "--config", str(tmp_path / "none.py")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_what_the_proxy_shows_itself_is_marked_and_names_no_version():
    for name in ("503", "error"):
        page = (proxy_cli.PAGES / f"{name}.html").read_text()
        assert 'content="roost proxy"' in page
        assert "http" not in page.replace("http-equiv", "")
