"""What the hub's own configuration means for its pages.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost_hub.live.verdicts import Finding, Verdict
from roost_hub.page_security import PageHeaders

if TYPE_CHECKING:
    from traitlets.config import Config

_ABOUT = "hub"


def of_the_pages(settings: Config) -> list[Finding]:
    """Say whether users' servers share the hub's origin, and whether pages have their headers.

    Parameters
    ----------
    settings
        The hub's ``jupyterhub_config.py``, as it was read.
    """
    hub = settings.get("JupyterHub", {})
    found = [_origin(hub.get("subdomain_host", ""))]
    missing = [
        name
        for name in PageHeaders(https=False)
        if name not in dict(hub.get("tornado_settings", {})).get("headers", {})
    ]
    if missing:
        said = (
            f"Pages come without {', '.join(missing)}: c.JupyterHub.tornado_settings is replaced."
        )
        hint = "Change what configure() has set there, such as with .update(...)."
        found.append(Finding(_ABOUT, Verdict.BAD, said, hint))
    return found


def _origin(subdomain_host: str) -> Finding:
    if subdomain_host:
        return Finding(_ABOUT, Verdict.GOOD, f"Users' servers have hosts below {subdomain_host}.")
    said = "Users' servers share the hub's host: a user's page can act as whoever opens it."
    hint = "c.JupyterHub.subdomain_host gives each user a host; it needs DNS and a certificate."
    return Finding(_ABOUT, Verdict.REMARK, said, hint)


def of_internal_tls(settings: Config) -> Finding:
    """Say whether the notebooks' traffic is encrypted (`settings` as above)."""
    if settings.get("JupyterHub", {}).get("internal_ssl") is True:
        said = "What hub, proxy and notebooks say to each other is encrypted (internal TLS)."
        return Finding(_ABOUT, Verdict.GOOD, said)
    said = "Hub, proxy and notebooks speak in the clear: whoever is on the network reads along."
    return Finding(_ABOUT, Verdict.REMARK, said, "Set c.JupyterHub.internal_ssl = True.")
