"""What can go wrong with a token.

* ShepherdError
  x Transient              (retryable: says nothing about the grant)
    + ProviderUnreachable  (nobody answered in time)
    + ProviderBusy         (it answered 5xx, 429 or nonsense; ``retry_after`` if it said so)
    + RenewalBusy          (another process holds this grant's lease)
  x Terminal               (only a human can help)
    + NoGrant              (nothing is kept for this user)
    + NeedsLogin           (the provider ended the grant)
    + AupRequired          (the acceptable use policy waits for a signature)
    + AccountSuspended     (the provider does not let this person in)
    + ScopeRefused         (this audience or these scopes are not given; the grant lives on)
    + TokenExceeds         (the provider gave more than was asked for)
    + ClientRefused        (the provider does not take *our* client id or secret)
  x TokenInvalid           (a token that was shown to us does not verify)
  x VaultError
    + VaultLocked          (no key, or a key that does not open the vault)
    + VaultUnusable        (the database cannot be opened or written)
  x BadSetting             (a setting cannot be used)

Every error carries ``sentence``, for the user, apart from ``detail``, for the log.  Neither ever
holds a token, nor any text that a provider wrote: IAM's error bodies quote refresh tokens.
"""

from __future__ import annotations

from roost_shepherd.telling import TellingError


class ShepherdError(TellingError):
    """Base of all errors of this package."""


class Transient(ShepherdError):
    """Try again later.  No grant is judged by this.

    Parameters
    ----------
    sentence, detail
        As for :class:`ShepherdError`.
    retry_after
        Seconds that the other side asked us to wait, if it did (RFC 9110, section 10.2.3).
    """

    retryable = True

    def __init__(
        self, sentence: str, *, detail: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(sentence, detail=detail)
        self.retry_after = retry_after


class ProviderUnreachable(Transient):
    """The provider did not answer in time."""


class ProviderBusy(Transient):
    """The provider answered, but not with anything that can be used."""


class RenewalBusy(Transient):
    """Another process is renewing this grant and did not finish in time."""


class Terminal(ShepherdError):
    """Trying again gives the same answer."""


class NoGrant(Terminal):
    """Nothing is kept for this user: they never logged in, or logged out."""


class NeedsLogin(Terminal):
    """The provider ended the grant; a new login makes a new one."""


class AupRequired(Terminal):
    """The provider waits for the user to sign its acceptable use policy."""


class AccountSuspended(Terminal):
    """The provider suspended or disabled the account."""


class ScopeRefused(Terminal):
    """The provider does not give this audience or these scopes to this grant."""

    missing: tuple[str, ...] = ()
    """The scopes that were asked for and that the grant never had, if they were among them."""


class TokenExceeds(Terminal):
    """The token is good for an audience or a scope that was not asked for."""


class ClientRefused(Terminal):
    """The provider does not take our client id and secret, or this kind of request."""


class TokenInvalid(ShepherdError):
    """A token that was shown to us does not verify; the sentence says why."""


class VaultError(ShepherdError):
    """The vault cannot be used."""


class VaultLocked(VaultError):
    """No key was given, or none that opens what the vault holds."""


class VaultUnusable(VaultError):
    """The database cannot be opened, read or written."""


class BadSetting(ShepherdError):
    """A setting cannot be used; the sentence names it and what is allowed."""
