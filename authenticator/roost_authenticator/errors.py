"""What can go wrong when somebody logs in.

* AuthenticatorError
  x BadMapFile        (the map of accounts cannot be used; names the line)
  x LoginRefused      (terminal: logging in again gives the same answer)
    + BadClaims       (the id_token does not say who this is)
    + NotMapped       (no account here belongs to this person)
    + UnsafeAccount   (the account that the map names is never given to anyone)
  x LoginFailed       (retryable: start the login again)

Every error carries ``sentence``, for the user, apart from ``detail``, for the log.  Neither ever
holds a token.
"""

from __future__ import annotations

from roost_shepherd.telling import TellingError


class AuthenticatorError(TellingError):
    """Base of all errors of this package."""


class BadMapFile(AuthenticatorError):
    """The map of accounts cannot be used; the sentence names the line and what is allowed."""


class LoginRefused(AuthenticatorError):
    """The person is known and not let in."""


class BadClaims(LoginRefused):
    """The id_token verifies and still does not say who this is."""


class NotMapped(LoginRefused):
    """No line of the map is about this issuer and subject."""


class UnsafeAccount(LoginRefused):
    """The map names an account that is never given to anyone, such as root."""


class LoginFailed(AuthenticatorError):
    """One login did not work out; another one may."""

    retryable = True
