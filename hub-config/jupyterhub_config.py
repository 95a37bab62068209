"""JupyterHub's own settings; clusters and profiles are in site.yaml.

Works as it is in the testbed, and at a site whose secrets lie in /etc/roost, each in a file that
only the hub's account can read.
"""

import os
import sys
from pathlib import Path

from roost_hub.configure import configure

c = get_config()  # noqa: F821 - JupyterHub provides it

ETC = Path(os.environ.get("ROOST_ETC", "/etc/roost"))
STATE = Path(os.environ.get("ROOST_STATE", "/var/lib/roost"))


def secret(name: str) -> str:
    """Return what a file in /etc/roost holds."""
    return (ETC / name).read_text(encoding="utf-8-sig").strip()


os.umask(0o077)  # databases, logs and keys are the hub's alone
# Sets tornado_settings too, with the headers of the pages: add to them, do not replace them.
site = configure(c, ETC / "site.yaml", audit_log=STATE / "audit.log")
HUB = site.hub_url.rstrip("/")

# -- who may enter ------------------------------------------------------------------------------
c.IAMOAuthenticator.issuer = os.environ["ROOST_IAM_ISSUER"]
c.IAMOAuthenticator.client_id = os.environ.get("ROOST_IAM_CLIENT_ID", "roost-hub")
c.IAMOAuthenticator.client_secret = secret("iam-client-secret")
c.IAMOAuthenticator.oauth_callback_url = f"{HUB}/hub/oauth_callback"
c.IAMOAuthenticator.map_file = str(ETC / "mapfile")
c.IAMOAuthenticator.admin_groups = {"/roost/admins"}
c.IAMOAuthenticator.block_file = str(STATE / "blocked.json")  # of `roost block`
c.IAMOAuthenticator.enable_auth_state = True
c.CryptKeeper.keys = [secret("crypt-key")]
c.Shepherd.vault_url = f"sqlite:///{STATE}/vault.sqlite"
c.Shepherd.vault_keys = [secret("vault-key")]

# -- where it answers: the proxy ends TLS, the hub itself listens on loopback only -----------------
c.JupyterHub.bind_url = f"https://:{os.environ.get('ROOST_PORT', '8443')}/"
c.JupyterHub.public_url = f"{HUB}/"
c.JupyterHub.ssl_cert = str(ETC / "host.crt")
c.JupyterHub.ssl_key = str(ETC / "host.key")
c.JupyterHub.hub_bind_url = "https://127.0.0.1:8081"
c.JupyterHub.db_url = f"sqlite:///{STATE}/jupyterhub.sqlite"
c.JupyterHub.activity_resolution = 120  # each note of who was there is a wait for the disk
c.JupyterHub.cookie_secret_file = str(STATE / "cookie-secret")
# The proxy is a service of its own, `roost proxy`: open pages go on while the hub is restarted.
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.auth_token = secret("proxy-token")
c.ConfigurableHTTPProxy.log_level = "warn"  # each look at its routes would be a line
c.ConfigurableHTTPProxy.pid_file = str(STATE / "proxy.pid")  # where the hub starts it after all

# -- internal TLS: proxy, hub and notebooks take nobody's calls but each other's -------------------
# The notebooks' certificates travel with the sessions' bundles: nothing is shared with the nodes.
c.JupyterHub.internal_ssl = True
c.JupyterHub.internal_certs_location = str(STATE / "internal-ssl")

# -- sessions -----------------------------------------------------------------------------------
c.JupyterHub.allow_named_servers = True
c.JupyterHub.named_server_limit_per_user = 5
c.RoostSpawner.default_url = "/lab"
c.RoostSpawner.agent_folder = str(STATE / "agents")  # jobs in the queue outlive upgrades of the hub
c.RoostSpawner.http_timeout = 60

# -- the culler, with the least that it needs ------------------------------------------------------
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [
            *(sys.executable, "-I", "-m", "jupyterhub_idle_culler", "--timeout=3600"),
            "--ssl-enabled=true",
            f"--internal-certs-location={c.JupyterHub.internal_certs_location}",
        ],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "description": "Stop servers that nobody uses",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["idle-culler"],
    }
]
