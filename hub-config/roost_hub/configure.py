"""One call that gives JupyterHub what Roost needs of it.

What is JupyterHub's own stays in ``jupyterhub_config.py``; what follows from the site file or from
Roost's own interfaces is set here, so that a site cannot forget half of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from roost_authenticator.authenticator import CLUSTER_SCOPES
from roost_spawner.handoff import SCOPE, SCOPES
from roost_spawner.site.loader import load_site
from roost_spawner.ssl_errors import contain_errors

from roost_hub import announcements, api, health_api, servers, startup, tokens
from roost_hub.admin import handlers as admin
from roost_hub.entries import log_function
from roost_hub.lab import lab_environment, lab_files
from roost_hub.page_security import secure_pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roost_spawner.site.models import Site
    from traitlets.config import Config

TEMPLATES = Path(__file__).with_name("templates")


def _extend(section: Any, name: str, values: Sequence[Any]) -> None:
    """Add to a list that the site may have begun."""
    known = section.get(name, [])
    known = known if isinstance(known, list) else []
    section[name] = [*known, *(value for value in values if value not in known)]


def configure(
    c: Config,
    site_file: str | Path = "/etc/roost/site.yaml",
    *,
    audit_log: str | Path | None = None,
) -> Site:
    """Set up spawner, authenticator, scopes and pages.

    Parameters
    ----------
    c
        The configuration object of ``jupyterhub_config.py``.
    site_file
        The site file.
    audit_log
        The file of the audit log; None: there is none.

    Returns
    -------
    Site
        The site file as it is now.

    Raises
    ------
    SiteError
        If the site file is wrong: the hub does not start on it.
    """
    contain_errors()
    site = load_site(Path(site_file))
    hub = c.JupyterHub
    hub.authenticator_class = "iam"
    hub.spawner_class = "roost"
    c.RoostSpawner.site_file = str(site_file)
    # The agents speak for their sessions with the servers' own tokens (DESIGN, handoff).  A token
    # holds no more than its owner: so users hold the scope for their own servers too.
    hub.custom_scopes = {**hub.get("custom_scopes", {}), **SCOPES}
    _extend(hub, "extra_user_scopes", [f"{SCOPE}!user"])
    _extend(hub, "template_paths", [str(TEMPLATES)])
    _extend(hub, "extra_handlers", [*api.HANDLERS, *health_api.HANDLERS, *admin.HANDLERS])
    hub.template_vars = {
        "roost_announcements": announcements.for_pages,
        "roost_last_end": servers.ends_for_pages,
        "roost_servers": servers.for_pages,
        "roost_tokens": tokens.for_pages,
        **hub.get("template_vars", {}),
    }
    secure_pages(hub, https=urlsplit(site.hub_url).scheme == "https")
    hub.tornado_settings.setdefault("log_function", log_function)
    # To the pending page soon, yet late enough for a refused choice to be the answer to the click.
    hub.tornado_settings.setdefault("slow_spawn_timeout", 0.3)
    # A site's own files and variables go over ours.
    spawner = c.RoostSpawner
    spawner.session_files = lab_files() | dict(spawner.get("session_files", {}))
    spawner.session_environment = lab_environment() | dict(spawner.get("session_environment", {}))
    # A grant is good for the audiences and scopes that were asked for at login, and no others.
    _extend(c.IAMOAuthenticator, "audiences", sorted(site.audiences()))
    _extend(
        c.IAMOAuthenticator,
        "cluster_scopes",
        [*CLUSTER_SCOPES, *sorted(site.scopes() - set(CLUSTER_SCOPES))],
    )
    # Under internal TLS the proxy checks certificates against the name that the browser asked for.
    host = str(urlsplit(site.hub_url).hostname)
    kind = "IP" if host.replace(".", "").isdigit() or ":" in host else "DNS"
    _extend(hub, "trusted_alt_names", [f"{kind}:{host}"])
    # Sessions are jobs: they outlive the hub.
    hub.cleanup_servers = False
    # A session that was starting when the hub went away cannot come up before the hub answers its
    # agent: do not wait for it.
    hub.init_spawners_timeout = hub.get("init_spawners_timeout", 1)
    startup.schedule(site_file, audit_log)
    return site
