"""The login's two requests, as far as they differ from oauthenticator's.

oauthenticator does state, PKCE and cookies.  Added here: discovery before the first redirect, the
audiences (RFC 8707), the nonce (OpenID Connect Core 1.0, section 3.1.2.1) and the check of the
answer's issuer (RFC 9207).
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthLoginHandler
from roost_shepherd.errors import ShepherdError
from roost_shepherd.keys import same_issuer
from tornado import web
from tornado.httputil import url_concat

if TYPE_CHECKING:
    from roost_authenticator.errors import AuthenticatorError


def nonce_of(state_cookie: str) -> str:
    """Return the nonce that belongs to one login's state cookie.

    A hash of the cookie (OpenID Connect Core 1.0, section 15.5.2): the cookie holds the PKCE
    verifier, 256 random bits, so nobody who sees the nonce can make the cookie, and nothing more
    has to be kept.
    """
    digest = hashlib.sha256(b"roost login nonce\0" + state_cookie.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def unavailable(error: ShepherdError | AuthenticatorError) -> web.HTTPError:
    """Return the page for a provider or vault that does not answer now."""
    return web.HTTPError(503, f"Logging in is not possible right now: {error.sentence}")


class IAMLoginHandler(OAuthLoginHandler):  # type: ignore[misc]
    """Send the browser to the identity provider."""

    _nonce = ""

    @property
    def _OAUTH_AUTHORIZE_URL(self) -> str:  # noqa: N802  (tornado's name)
        # Here and not in extra_authorize_params: a dict cannot hold `resource` twice.
        extra = [("resource", audience) for audience in self.authenticator.audiences]
        return str(url_concat(self.authenticator.authorize_url, [*extra, ("nonce", self._nonce)]))

    def set_state_cookie(self, state_cookie_value: str) -> None:
        """Set the cookie, and remember the nonce that belongs to it."""
        self._nonce = nonce_of(state_cookie_value)
        super().set_state_cookie(state_cookie_value)

    async def get(self) -> None:
        """Redirect, once it is known where to."""
        try:
            await self.authenticator.discover()
        except ShepherdError as error:
            self.log.warning("Login not possible: %s", error)
            raise unavailable(error) from None
        super().get()


class IAMCallbackHandler(OAuthCallbackHandler):  # type: ignore[misc]
    """Take the browser back from the identity provider."""

    # What the provider granted, between its verification and the user being let in.
    pending_grant: Any = None

    def check_arguments(self) -> None:
        """Check whose answer this is, then what upstream checks."""
        issuer = self.get_argument("iss", "")
        if issuer and not same_issuer(issuer, self.authenticator.issuer):
            raise web.HTTPError(400, "This login was answered by another identity provider.")
        super().check_arguments()
