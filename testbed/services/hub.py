"""The hub: JupyterHub and its proxy, two services of one unprivileged account."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from testbed.layout import FORWARDED
from testbed.mapfile import map_file
from testbed.probe import https_status
from testbed.services.base import Service
from testbed.services.condor import watch_token

if TYPE_CHECKING:
    from testbed.host import Host
    from testbed.layout import Site

ETC = "/etc/roost"
HOME = "/var/lib/roost"
SOURCE = "/srv/roost"


def begin(
    site: Site,
    host: Host,
    *,
    config: str = f"{SOURCE}/hub-config/jupyterhub_config.py",
    state: str = HOME,
) -> None:
    """Write the hub's files and start it.

    Parameters
    ----------
    config
        Its ``jupyterhub_config.py``, as the host sees it.
    state
        Folder of its databases; the account's own.
    """
    furnish(site, host)
    command = ["/opt/roost/bin/jupyterhub", "--config", config]
    host.spawn("hub", command, user="roost", cwd=state, env=environment(site, state=state))


def begin_proxy(site: Site, host: Host) -> None:
    """Start the proxy, which takes what it needs from the hub's own configuration."""
    furnish(site, host)
    config = f"{SOURCE}/hub-config/jupyterhub_config.py"
    command = ["/opt/roost/bin/roost", "proxy", "--config", config]
    host.spawn("proxy", command, user="roost", cwd=HOME, env=environment(site))


def furnish(site: Site, host: Host) -> None:
    """Write the files of hub and proxy."""

    def private(name: str, text: str) -> None:
        host.write(f"{ETC}/{name}", text, owner="roost", mode=0o600)

    host.run(["install", "-d", "-m", "755", "-o", "roost", ETC])
    for name in ("host.key", "host.crt"):
        private(name, host.read(f"/etc/roost/tls/{name}"))
    private("iam-client-secret", site.secret("iam-client-roost-hub"))
    private("vault-key", site.secret("vault-key", _fernet_key))
    private("crypt-key", site.secret("crypt-key", lambda: secrets.token_hex(32)))
    private("proxy-token", site.secret("proxy-token"))
    private("watch-htcondor.token", watch_token(site))
    site_file = (site.repository / "hub-config/site.yaml").read_text()
    host.write(f"{ETC}/site.yaml", site_file)
    host.write(f"{ETC}/mapfile", map_file(site.people, site.issuer, site.domain))


def environment(
    site: Site, *, etc: str = ETC, state: str = HOME, port: int = FORWARDED["hub"]
) -> dict[str, str]:
    """Return what hub and proxy find in their environment."""
    return {
        "HOME": HOME,
        "PATH": "/opt/roost/bin:/opt/npm/node_modules/.bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ROOST_ETC": etc,
        "ROOST_STATE": state,
        "ROOST_PORT": str(port),
        "ROOST_IAM_ISSUER": site.issuer,
        "ROOST_IAM_CLIENT_ID": "roost-hub",
    }


def services(site: Site) -> list[Service]:
    """Return the proxy, which outlives the hub, and the hub."""

    def start_proxy(host: Host) -> None:
        begin_proxy(site, host)

    def proxy_ready(host: Host) -> bool:
        return host.alive("proxy") and https_status(site.folders, "hub", "/_chp_healthz") == 200

    def start(host: Host) -> None:
        begin(site, host)

    def ready(host: Host) -> bool:
        return host.alive("hub") and https_status(site.folders, "hub", "/hub/health") == 200

    return [
        Service("proxy", "hub", start_proxy, proxy_ready, timeout=60),
        Service("hub", "hub", start, ready, after=("proxy", "iam", "collector"), timeout=60),
    ]


def _fernet_key() -> str:
    import base64  # noqa: PLC0415 - used once in a run

    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
