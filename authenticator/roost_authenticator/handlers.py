"""The requests of login and logout, as far as they differ from oauthenticator's.

oauthenticator does state, PKCE and cookies.  Added here: discovery before the first redirect, the
audiences (RFC 8707), the nonce (OpenID Connect Core 1.0, section 3.1.2.1) and the check of the
answer's issuer (RFC 9207).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING, Any

from jupyterhub.handlers.login import LoginHandler
from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthLoginHandler, OAuthLogoutHandler
from roost_shepherd.errors import AccountSuspended, AupRequired, ShepherdError
from roost_shepherd.keys import same_issuer
from roost_shepherd.pace import Pace
from roost_shepherd.provider import sort_error
from roost_shepherd.vault.models import GrantState
from tornado import web
from tornado.escape import xhtml_escape
from tornado.httputil import url_concat

from roost_authenticator import pages

if TYPE_CHECKING:
    from roost_authenticator.errors import AuthenticatorError


LOGINS = Pace(200, 1.0)
"""Steps of logins from one address, two for each login: a class behind one address comes at once.
Each second step is a call to the provider."""
_TOO_MANY = "Too many logins come from your address."
PATIENCE = 15.0
"""Seconds that a logout waits for the provider's word."""


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
        LOGINS.keep(self.request.remote_ip, _TOO_MANY)
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

    async def get(self) -> None:
        """Let the user in, or say who is not."""
        LOGINS.keep(self.request.remote_ip, _TOO_MANY)
        self.check_arguments()
        user = await self.login_user()
        if user is None:
            raise self.authenticator.not_allowed_page()
        self.redirect(self.get_next_url(user))

    def check_arguments(self) -> None:
        """Check whose answer this is, then what upstream checks."""
        issuer = self.get_argument("iss", "")
        if issuer and not same_issuer(issuer, self.authenticator.issuer):
            raise web.HTTPError(400, "This login was answered by another identity provider.")
        super().check_arguments()

    def check_error(self) -> None:
        """Say in our own words that the provider refused; its words go nowhere.

        Source: RFC 6749, section 4.1.2.1; IAM's texts tell a policy that waits to be signed.
        """
        code = self.get_argument("error", "")
        if not code:
            return
        body = {"error": code, "error_description": self.get_argument("error_description", "")}
        error = sort_error(400, body, issuer=self.authenticator.issuer)
        self.log.warning("Login refused by %s: %s", self.authenticator.issuer, error.detail)
        if isinstance(error, AupRequired | AccountSuspended):
            raise self.authenticator.page(error)
        raise web.HTTPError(
            403, f"{self.authenticator.issuer} did not let you in, or you went back; try again."
        )


class IAMSignInHandler(LoginHandler):  # type: ignore[misc]
    """JupyterHub's login page, but for those who must do something else first."""

    async def get(self) -> None:
        """Show what the IAM waits for, or the way to log in."""
        if self.current_user is None:
            user = self.get_current_user_cookie()
            if user is not None:
                await self._tell(user)
        await super().get()

    async def _tell(self, user: Any) -> None:
        own = self.authenticator
        try:
            status = await own.shepherd.status(user.name)
        except ShepherdError:
            return
        kind = {
            GrantState.AUP_REQUIRED: AupRequired,
            GrantState.SUSPENDED: AccountSuspended,
        }.get(status.state)
        if kind is None:
            return
        again = url_concat(
            own.login_url(self.hub.base_url), {"next": self.get_argument("next", "")}
        )
        raise own.waiting_page(
            kind(status.last_error or ""),
            sessions=own.count_sessions(user.name),
            good_until=status.good_until,
            again=again,
        )


class IAMLogoutHandler(OAuthLogoutHandler):  # type: ignore[misc]
    """Log out, and give the grant up: now, or when no session needs it any more (RFC 7009)."""

    _word = ""
    _kept = False

    async def handle_logout(self) -> None:
        """Give the grant up; a vault that cannot be used keeps nobody logged in."""
        await super().handle_logout()
        user, own = self._jupyterhub_user, self.authenticator
        if user is None:
            return
        done = False
        # Shielded: who waits no longer must not keep the provider from hearing of it.
        leaving = asyncio.ensure_future(own.standing.departures.leave(user))
        try:
            async with asyncio.timeout(PATIENCE):
                done = await asyncio.shield(leaving)
        except TimeoutError:
            self.log.warning("The grant of %s is still being given up", user.name)
        except Exception:
            self.log.exception("The grant of %s could not be given up", user.name)
        sessions = own.count_sessions(user.name)
        self._kept = not done
        self._word = pages.logged_out(own.issuer, sessions=sessions, given_back=done)

    async def render_logout_page(self) -> None:
        """Say what becomes of the grant; where a site leads people elsewhere, if it is kept."""
        if not self._word or (self.authenticator.logout_redirect_url and not self._kept):
            await super().render_logout_page()
            return
        word = xhtml_escape(self._word)
        self.finish(await self.render_template("logout.html", announcement_logout=word))
