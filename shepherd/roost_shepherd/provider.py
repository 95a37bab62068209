"""Calls to one provider's token and revocation endpoints.

Sources: RFC 6749, sections 2.3.1 (client authentication), 4.4, 5 and 6; RFC 7009 (revocation);
RFC 8707 (``resource``); RFC 8693 (token exchange); the texts by
which INDIGO IAM tells its own states (IAM 1.12).
"""

from __future__ import annotations

import base64
import math
import random
import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote_plus, urlencode

from roost_shepherd.breaker import Breaker
from roost_shepherd.errors import (
    AccountSuspended,
    AupRequired,
    ClientRefused,
    NeedsLogin,
    ProviderBusy,
    ScopeRefused,
    ShepherdError,
)
from roost_shepherd.expiry import ASSUMED_LIFE, jwt_expiry
from roost_shepherd.http import HttpClient
from roost_shepherd.keys import TokenVerifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from roost_shepherd.http import Answer


_TEXT = re.compile(r"[\x20-\x7e]+")  # RFC 6749, appendix A: VSCHAR
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # appendix A.4
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TYPE = "urn:ietf:params:oauth:token-type:access_token"


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What a token endpoint gave, with absolute expiries."""

    access_token: str = field(repr=False)
    expires_at: float
    scopes: frozenset[str]
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    issued_at: float = 0.0

    @classmethod
    def from_response(
        cls, body: Mapping[str, Any], *, now: float, requested: Iterable[str] = ()
    ) -> Self:
        """Read a token endpoint's JSON.

        Parameters
        ----------
        body
            The JSON object (RFC 6749, section 5.1).
        now
            When the request was *sent*: counted from there, no expiry is ever too late.
        requested
            Scopes that were asked for; they are the granted ones if the answer names none.

        Raises
        ------
        ProviderBusy
            If it is not a token answer; nothing of it is repeated in the error.
        """
        access_token = body.get("access_token")
        if not isinstance(access_token, str) or not _TEXT.fullmatch(access_token):
            raise _malformed("no access_token")
        if str(body.get("token_type", "Bearer")).lower() != "bearer":
            raise _malformed("a token_type other than Bearer")
        scope = body.get("scope")
        return cls(
            access_token=access_token,
            expires_at=_expires_at(body.get("expires_in"), access_token, now),
            # What is no scope could not be written into every database (RFC 6749, section 3.3).
            scopes=frozenset(
                filter(_SCOPE.fullmatch, scope.split()) if isinstance(scope, str) else requested
            ),
            refresh_token=_text(body.get("refresh_token")),
            id_token=_text(body.get("id_token")),
            issued_at=now,
        )


class Provider:
    """One OpenID provider, seen as one registered client of it.

    Parameters
    ----------
    issuer
        The issuer's URL; everything else is discovered.
    client_id, client_secret
        Of the client that all refresh tokens belong to.  (IAM deletes a refresh token that another
        client shows.)
    verifier
        Shares its discovery; a new one by default.
    ca_certs
        As for :class:`~.keys.TokenVerifier`.
    http_proxy
        As for :class:`~.http.HttpClient`.
    audience_parameter
        ``resource`` (RFC 8707), or ``audience`` for older IAMs.
    clock
        Seconds since the epoch.
    jitter
        A random number from 0 to 1.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str,
        *,
        verifier: TokenVerifier | None = None,
        ca_certs: str | None = None,
        http_proxy: str | None = None,
        audience_parameter: str = "resource",
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.issuer = issuer
        self.breaker = Breaker(clock, jitter)
        self.client_id = client_id
        self._client_secret = client_secret
        self._audience_parameter = audience_parameter
        self._clock = clock
        self._http = HttpClient(ca_certs=ca_certs, http_proxy=http_proxy)
        self.verifier = verifier or TokenVerifier(
            issuer, ca_certs=ca_certs, http_proxy=http_proxy, clock=clock
        )

    async def refresh(
        self,
        refresh_token: str,
        *,
        audience: str | None = None,
        scopes: Iterable[str] | None = None,
        patience: float | None = None,
    ) -> TokenAnswer:
        """Exchange a refresh token for a new answer (RFC 6749, section 6).

        The audience and the scopes are sent every time: IAM was seen to keep the audience of the
        call before.

        Parameters
        ----------
        refresh_token
            The grant's.
        audience, scopes
            What the access token is for.
        patience
            As for :meth:`~.breaker.Breaker.asking`.

        Raises
        ------
        Transient
            If nothing can be said about the grant.
        Terminal
            If the grant, the client or the scopes are refused.
        """
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return await self._token(form, audience, scopes, patience)

    async def can_exchange(self) -> bool:
        """Tell whether the provider says that it exchanges tokens.

        Raises
        ------
        Transient
            If it was never asked and does not answer.
        """
        told = (await self.verifier.metadata()).raw.get("grant_types_supported")
        return isinstance(told, list) and _EXCHANGE in told

    async def exchange(
        self,
        subject_token: str,
        *,
        audience: str,
        scopes: Iterable[str],
        patience: float | None = None,
    ) -> TokenAnswer:
        """Narrow an access token to one audience and some scopes (RFC 8693, section 2.1).

        The refresh token is not shown, and the answer holds none: it belongs to no grant.

        Raises
        ------
        Transient
            If nothing can be said.
        Terminal
            If this is refused; it says nothing about the grant, for it may be the access token
            that the provider does not take any more.
        """
        form = {
            "grant_type": _EXCHANGE,
            "subject_token": subject_token,
            "subject_token_type": _ACCESS_TYPE,
            "requested_token_type": _ACCESS_TYPE,
        }
        answer = await self._token(form, audience, scopes, patience)
        return replace(answer, refresh_token=None)

    async def client_credentials(
        self, *, audience: str | None, scopes: Iterable[str] | None
    ) -> TokenAnswer:
        """Get a token for the client itself (RFC 6749, section 4.4).  Raises as :meth:`refresh`."""
        return await self._token({"grant_type": "client_credentials"}, audience, scopes)

    async def userinfo(self, access_token: str) -> dict[str, Any] | None:
        """Return what the provider says about a token's owner; ``None`` if it has no place for it.

        Source: OpenID Connect Core 1.0, section 5.3.  The caller compares the subject.

        Raises
        ------
        Transient
            If it does not answer, or not with claims: nobody is judged by that.
        """
        endpoint = (await self.verifier.metadata()).userinfo_endpoint
        if endpoint is None:
            return None
        headers = {"Accept": "application/json", "Authorization": f"Bearer {access_token}"}
        answer = await self._http.fetch("GET", endpoint, headers=headers)
        claims = answer.json()
        if answer.status != 200 or claims is None:
            raise ProviderBusy(
                f"{self.issuer} has a problem at the moment.",
                detail=f"userinfo endpoint: HTTP {answer.status}",
            )
        return claims

    async def revoke(self, token: str, hint: str = "refresh_token") -> bool:
        """Revoke a token (RFC 7009); tell whether the provider did it.

        Raises
        ------
        Transient
            If it did not answer.
        """
        endpoint = (await self.verifier.metadata()).revocation_endpoint
        if endpoint is None:
            return False
        answer = await self._post(endpoint, {"token": token, "token_type_hint": hint})
        return answer.status == 200

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self._http.close()
        await self.verifier.close()

    async def _token(
        self,
        form: dict[str, str],
        audience: str | None,
        scopes: Iterable[str] | None,
        patience: float | None = None,
    ) -> TokenAnswer:
        wanted = sorted(set(scopes or ()))
        if wanted:
            form["scope"] = " ".join(wanted)
        if audience:
            form[self._audience_parameter] = audience
        with self.breaker.asking(patience):
            metadata = await self.verifier.metadata()
            now = self._clock()
            answer = await self._post(metadata.token_endpoint, form)
            body = answer.json()
            if answer.status != 200:
                raise sort_error(answer.status, body, issuer=self.issuer)
            if body is None:
                raise _malformed("no JSON object")
            return TokenAnswer.from_response(body, now=now, requested=wanted)

    async def _post(self, url: str, form: Mapping[str, str]) -> Answer:
        # RFC 6749, section 2.3.1: both are form-encoded before they are joined.
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self._client_secret)}"
        return await self._http.fetch(
            "POST",
            url,
            body=urlencode(form),
            headers={
                "Accept": "application/json",
                "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )


# Long words are dropped before the search: IAM quotes the token, and that is random text.
_LONG_WORD = re.compile(r"\S{25,}")
_AUP = re.compile(r"\bAUP\b|\bacceptable use\b", re.IGNORECASE)
_SUSPENDED = re.compile(
    r"\b(suspended|disabled|not active|inactive|locked|not enabled)\b", re.IGNORECASE
)
_CODE = re.compile(r"[a-z_]{1,40}")


def sort_error(status: int, body: Mapping[str, Any] | None, *, issuer: str) -> ShepherdError:
    """Sort a token endpoint's refusal (RFC 6749, section 5.2; RFC 8707, section 2; IAM's texts).

    Only the ``error`` code and the kind go on from here.  The description never does: IAM writes
    ``Invalid refresh token: <the token>`` into it.

    Parameters
    ----------
    status
        HTTP status, 4xx.
    body
        The JSON object, if it was one.
    issuer
        Named in the sentence.
    """
    given = (body or {}).get("error")
    code = given if isinstance(given, str) and _CODE.fullmatch(given) else ""
    text = _LONG_WORD.sub(" ", str((body or {}).get("error_description") or ""))
    detail = f"HTTP {status}, error {code or 'not given'}"
    if code in ("invalid_client", "unauthorized_client", "unsupported_grant_type"):
        return ClientRefused(
            f"{issuer} does not accept this hub as its client; please tell the hub's admin.",
            detail=detail,
        )
    if code and _AUP.search(text):
        return AupRequired(
            f"{issuer} asks you to sign its acceptable use policy; "
            "please sign it there and try again.",
            detail=detail,
        )
    if code and _SUSPENDED.search(text):
        return AccountSuspended(
            f"Your account at {issuer} is suspended; please ask its administrators.",
            detail=detail,
        )
    if code in ("invalid_grant", "invalid_token"):
        return NeedsLogin(f"Your login at {issuer} has ended; please log in again.", detail=detail)
    if code in ("invalid_scope", "invalid_target", "access_denied", "invalid_request"):
        return ScopeRefused(
            f"{issuer} does not give this hub the access that was asked for; "
            "please tell the hub's admin.",
            detail=detail,
        )
    # Anything else judges nobody: a proxy's page, a code that no RFC knows.
    return ProviderBusy(f"{issuer} has a problem at the moment.", detail=detail)


def _expires_at(expires_in: object, access_token: str, now: float) -> float:
    seconds: float | None = None
    if isinstance(expires_in, int | float | str) and not isinstance(expires_in, bool):
        try:
            seconds = float(expires_in)
        except ValueError:
            seconds = None
    if seconds is not None and math.isfinite(seconds) and seconds > 0:
        return now + seconds
    told = jwt_expiry(access_token)
    return told if told is not None else now + ASSUMED_LIFE


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and _TEXT.fullmatch(value) else None


def _malformed(what: str) -> ProviderBusy:
    return ProviderBusy(
        "The identity provider has a problem at the moment.",
        detail=f"token endpoint: HTTP 200 with {what}",
    )
