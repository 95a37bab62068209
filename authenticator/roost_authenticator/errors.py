"""What can go wrong when somebody logs in.

* AuthenticatorError
  x BadAccounts       (the source of accounts cannot be used)
    + BadMapFile      (the map file: names the line)
    + BadAccountHook  (the site's function failed)
  x LoginRefused      (terminal: logging in again gives the same answer)
    + BadClaims       (the id_token does not say who this is)
    + NotMapped       (no account here belongs to this person)
    + UnsafeAccount   (the account that the source names is never given to anyone)
    + AccountTaken    (the account is another person's)
    + NotAllowed      (the person is in none of the groups that may enter)
  x LoginFailed       (retryable: start the login again)

Every error carries ``sentence``, for the user, apart from ``detail``, for the log.  Neither ever
holds a token.
"""

from __future__ import annotations

from roost_shepherd.telling import TellingError


class AuthenticatorError(TellingError):
    """Base of all errors of this package."""


class BadAccounts(AuthenticatorError):
    """Nobody's account can be told at the moment; nobody loses theirs by it."""


class BadMapFile(BadAccounts):
    """The map of accounts cannot be used; the sentence names the line and what is allowed."""


class BadAccountHook(BadAccounts):
    """The site's own function for accounts failed."""


class LoginRefused(AuthenticatorError):
    """The person is known and not let in."""


class BadClaims(LoginRefused):
    """The id_token verifies and still does not say who this is."""


class NotMapped(LoginRefused):
    """No account belongs to this issuer and subject."""


class UnsafeAccount(LoginRefused):
    """The source names an account that is never given to anyone, such as root."""


class AccountTaken(LoginRefused):
    """The account was first used by another person."""


class NotAllowed(LoginRefused):
    """The person has an account and is in none of the groups that may enter."""


class LoginFailed(AuthenticatorError):
    """One login did not work out; another one may."""

    retryable = True
