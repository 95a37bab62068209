"""Headers that tell browsers what pages of the hub may load, who may embed them, and what to keep.

JupyterHub's templates have scripts within the page.  Each script of a template's source gets the
nonce of its response, so that a script which came in as data does not run.  Source: Content
Security Policy Level 3, "Nonces".
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from typing import Any

from jinja2.ext import Extension

_SCRIPT = re.compile(r"<script(?=[\s>])", re.IGNORECASE)
_nonce: ContextVar[str] = ContextVar("roost_script_nonce")
_POLICY = "Content-Security-Policy"
_DIRECTIVES = (
    "default-src 'self'",
    "script-src 'self' 'nonce-{nonce}'",
    "style-src 'self' 'unsafe-inline'",  # JupyterHub's templates have style attributes
    "img-src 'self' data:",
    "object-src 'none'",
    "base-uri 'self'",
    "frame-ancestors 'none'",
)
_YEAR = 365 * 24 * 3600


def secure_pages(hub: Any, *, https: bool) -> None:
    """Set the headers of the pages in JupyterHub's configuration; a site's own go over them.

    Parameters
    ----------
    hub
        The section ``c.JupyterHub``.
    https
        Whether browsers reach the hub by HTTPS, and are to go on doing so.
    """
    settings = hub.get("tornado_settings", {})
    headers = PageHeaders(https=https)
    headers.update(settings.get("headers", {}))
    options = {"samesite": "Lax", **settings.get("cookie_options", {})}
    hub.tornado_settings = {**settings, "headers": headers, "cookie_options": options}
    jinja = hub.get("jinja_environment_options", {})
    extensions = [*jinja.get("extensions", []), ScriptNonces]
    hub.jinja_environment_options = {**jinja, "extensions": extensions}


class PageHeaders(dict[str, str]):
    """Headers of every response of the hub, each response with a nonce of its own.

    JupyterHub reads ``tornado_settings["headers"]`` once for each response, before it renders.

    Parameters
    ----------
    https
        Whether browsers reach the hub by HTTPS, and are to go on doing so.
    """

    def __init__(self, *, https: bool) -> None:
        super().__init__(
            {
                _POLICY: "; ".join(_DIRECTIVES),
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "same-origin",
                "Server": "JupyterHub",
            }
        )
        if https:
            self["Strict-Transport-Security"] = f"max-age={_YEAR}"

    def __getitem__(self, name: str) -> str:  # type: ignore[explicit-override]  # typing has it from 3.12 on
        """Return a header; the policy with a new nonce."""
        value = super().__getitem__(name)
        if name != _POLICY:
            return value
        nonce = secrets.token_urlsafe(16)
        _nonce.set(nonce)
        return value.replace("{nonce}", nonce)


class ScriptNonces(Extension):
    """Give every script in the source of a template the nonce of the response."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        environment.globals["roost_script_nonce"] = lambda: _nonce.get("")

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:  # type: ignore[explicit-override]  # likewise
        """Return the source with the nonce's place in each script's tag."""
        del name, filename
        return _SCRIPT.sub('<script nonce="{{ roost_script_nonce() }}"', source)
