"""Verify the tokens of one issuer, by its published keys.

Used by the authenticator (id_token), the broker and the tests.  It imports tornado and PyJWT only.

Sources: OpenID Connect Discovery 1.0, section 4.3; OpenID Connect Core 1.0, section 3.1.3.7;
RFC 7517 (keys), RFC 7519, section 4.1 (claims), RFC 8725 (algorithms); RFC 9068, section 4.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jwt

from roost_shepherd.errors import BadSetting, ProviderBusy, TokenInvalid, Transient
from roost_shepherd.http import HttpClient, require_https
from roost_shepherd.jwks import ALGORITHMS, Key, candidates, parse_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


_MAX_TOKEN = 1024 * 1024  # ten thousand groups fit
_REQUIRED = ("iss", "sub", "aud", "exp")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the issuer says about itself (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    revocation_endpoint: str | None = None
    introspection_endpoint: str | None = None
    end_session_endpoint: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


def same_issuer(a: str, b: str) -> bool:
    """Tell whether two issuer URLs name the same issuer.

    IAM's discovery document ends its issuer with a slash while the tokens may not
    (facts of INDIGO IAM), so one trailing slash is no difference.  Everything else is.
    """
    return bool(a) and bool(b) and a.removesuffix("/") == b.removesuffix("/")


class TokenVerifier:
    """Verify tokens of one issuer.

    Discovery and keys are cached; the keys are fetched again, at most once in ``refetch_after``
    seconds, when a token names a key that is not known.  While the issuer is away, what is cached
    goes on to serve.

    Parameters
    ----------
    issuer
        The issuer's URL, with or without the trailing slash.
    ca_certs
        File of CA certificates, if not the system's.
    http_proxy
        As for :class:`~.http.HttpClient`.
    leeway
        Seconds that the issuer's clock and this host's may differ.
    clock
        Seconds since the epoch.
    cache_for
        Seconds that discovery and keys are good without asking again.
    refetch_after
        Least number of seconds between two fetches for the sake of unknown keys.
    """

    def __init__(
        self,
        issuer: str,
        *,
        ca_certs: str | None = None,
        http_proxy: str | None = None,
        leeway: float = 10.0,
        clock: Callable[[], float] = time.time,
        cache_for: float = 3600.0,
        refetch_after: float = 30.0,
    ) -> None:
        self.issuer = require_https(issuer, "The issuer")
        self._http = HttpClient(ca_certs=ca_certs, http_proxy=http_proxy)
        self._leeway = leeway
        self._clock = clock
        self._cache_for = cache_for
        self._refetch_after = refetch_after
        self._lock = asyncio.Lock()
        self._metadata: Metadata | None = None
        self._metadata_at = -math.inf
        self._keys: tuple[Key, ...] = ()
        self._keys_at = -math.inf
        self._tried_at = -math.inf

    @property
    def known(self) -> bool:
        """Whether the discovery document was ever read."""
        return self._metadata is not None

    async def metadata(self) -> Metadata:
        """Return the issuer's discovery document, from the cache while it is fresh.

        Raises
        ------
        Transient
            If it was never read and cannot be read now.
        """
        if self._metadata is None or self._clock() - self._metadata_at >= self._cache_for:
            async with self._lock:
                await self._refresh_metadata()
        assert self._metadata is not None
        return self._metadata

    async def verify(
        self, token: str, *, audience: str, nonce: str | None = None, leeway: float | None = None
    ) -> dict[str, Any]:
        """Return the claims of a token that is good for ``audience`` now.

        Parameters
        ----------
        token
            A signed JWT.
        audience
            The audience it must name.  WLCG's "any" audience is not taken: whoever received such
            a token could use it here.
        nonce
            For an id_token: the nonce of our own authorization request.
        leeway
            Seconds that clocks may differ, if not as many as this verifier allows.

        Raises
        ------
        TokenInvalid
            If the token is refused; the sentence says why.
        Transient
            If the issuer's keys are needed and cannot be fetched.
        """
        header, unverified = _read(token)
        alg = header.get("alg")
        if not isinstance(alg, str) or alg not in ALGORITHMS:
            raise TokenInvalid(
                f"The token is signed with {_quote(alg)}; allowed are {', '.join(ALGORITHMS)}."
            )
        if "crit" in header:
            raise TokenInvalid("The token demands extensions that are not known here.")
        # Before any key is fetched: tokens of others must not make us ask our issuer.
        _check_issuer(unverified, self.issuer)
        claims = await self._check_signature(token, alg, header.get("kid"))
        check_claims(
            claims,
            issuer=self.issuer,
            audience=audience,
            nonce=nonce,
            now=self._clock(),
            leeway=self._leeway if leeway is None else leeway,
        )
        return claims

    async def close(self) -> None:
        """Close the connections to the issuer."""
        await self._http.close()

    async def _check_signature(self, token: str, alg: str, kid: object) -> dict[str, Any]:
        if kid is not None and not isinstance(kid, str):
            raise TokenInvalid("The token's key id is not a string.")
        now = self._clock()
        if not self._keys or now - self._keys_at >= self._cache_for:
            await self._fetch_keys(seen=self._keys_at)
        possible = candidates(self._keys, alg, kid)
        if not possible and self._clock() - self._tried_at >= self._refetch_after:
            await self._fetch_keys(seen=self._keys_at)
            possible = candidates(self._keys, alg, kid)
        if not possible:
            raise TokenInvalid(f"The token is signed with a key that {self.issuer} does not have.")
        for candidate in possible:
            try:
                claims = jwt.decode(
                    token,
                    candidate.key,
                    algorithms=[alg],
                    # Claims are checked by check_claims, on the clock that was given.
                    options={
                        "verify_exp": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                        "verify_aud": False,
                        "verify_iss": False,
                        "verify_sub": False,
                        "verify_jti": False,
                    },
                )
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
            return dict(claims)
        raise TokenInvalid("The token's signature is wrong.")

    async def _fetch_keys(self, *, seen: float) -> None:
        """Fetch the keys, once for all who wait; keep the old ones if that fails."""
        async with self._lock:
            if self._keys_at != seen:
                return
            self._tried_at = self._clock()
            try:
                if self._metadata is None or self._clock() - self._metadata_at >= self._cache_for:
                    await self._refresh_metadata()
                assert self._metadata is not None
                answer = await self._http.fetch("GET", self._metadata.jwks_uri)
                keys = parse_keys(answer.json())
                if answer.status != 200 or not keys:
                    raise ProviderBusy(
                        f"{self.issuer} does not show its keys at the moment.",
                        detail=f"{self._metadata.jwks_uri}: HTTP {answer.status}, no usable key",
                    )
            except Transient:
                if not self._keys:
                    raise
                return
            self._keys = keys
            self._keys_at = self._clock()

    async def _refresh_metadata(self) -> None:
        if self._clock() - self._metadata_at < self._cache_for:
            return
        url = self.issuer.removesuffix("/") + "/.well-known/openid-configuration"
        try:
            answer = await self._http.fetch("GET", url)
            document = answer.json()
            if answer.status != 200 or document is None:
                raise ProviderBusy(
                    f"{self.issuer} does not describe itself at the moment.",
                    detail=f"{url}: HTTP {answer.status}, no JSON object",
                )
            metadata = _parse_metadata(document, self.issuer)
        except Transient:
            if self._metadata is None:
                raise
            return
        self._metadata = metadata
        self._metadata_at = self._clock()


def check_claims(
    claims: Mapping[str, Any],
    *,
    issuer: str,
    audience: str,
    nonce: str | None,
    now: float,
    leeway: float,
) -> None:
    """Refuse claims that are not for us, not from our issuer, or not for now.

    Raises
    ------
    TokenInvalid
        With a sentence that says what was found and what is wanted.
    """
    for name in _REQUIRED:
        if name not in claims:
            raise TokenInvalid(f"The token has no {name!r} claim.")
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise TokenInvalid("The token's subject is not a string.")
    _check_issuer(claims, issuer)
    audiences = _audiences(claims["aud"])
    if audience not in audiences:
        raise TokenInvalid(f"The token is for {_quote(claims['aud'])}, not for {audience!r}.")
    if _number(claims, "exp") + leeway <= now:
        raise TokenInvalid("The token has expired.")
    for name in ("nbf", "iat"):
        if name in claims and _number(claims, name) - leeway > now:
            ahead = math.ceil(_number(claims, name) - now)
            raise TokenInvalid(
                f"The token is not valid yet: its issuer's clock is {ahead} s ahead of this "
                f"host's; {leeway:g} s are allowed. One of the two clocks is wrong."
            )
    if nonce is not None:
        _check_login(claims, client_id=audience, nonce=nonce, several=len(audiences) > 1)


def _check_login(claims: Mapping[str, Any], *, client_id: str, nonce: str, several: bool) -> None:
    """Check what only an id_token has: it answers our own request and no other client's."""
    found = claims.get("nonce")
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(), nonce.encode()):
        raise TokenInvalid("The token does not answer this login (its nonce is another).")
    # OpenID Connect Core 1.0, section 3.1.3.7, rules 4 and 5.
    if (several or "azp" in claims) and claims.get("azp") != client_id:
        raise TokenInvalid("The token was made for another client.")


def _check_issuer(claims: Mapping[str, Any], issuer: str) -> None:
    found = claims.get("iss")
    if not isinstance(found, str) or not same_issuer(found, issuer):
        raise TokenInvalid(f"The token was issued by {_quote(found)}; taken are those of {issuer}.")


def _audiences(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise TokenInvalid("The token's audience is neither a string nor a list of strings.")


def _number(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TokenInvalid(f"The token's {name!r} is not a time.")
    return float(value)


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(token) > _MAX_TOKEN:
        raise TokenInvalid("The token is longer than a megabyte.")
    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenInvalid("This is not a signed JSON Web Token.") from None
    return dict(parts["header"]), dict(parts["payload"])


def _quote(value: object) -> str:
    return repr(value if isinstance(value, str | list | None) else type(value).__name__)[:200]


def _parse_metadata(document: Mapping[str, Any], issuer: str) -> Metadata:
    found = document.get("issuer")
    if not isinstance(found, str) or not same_issuer(found, issuer):
        raise ProviderBusy(
            f"{issuer} describes itself as {_quote(found)}; "
            "the issuer in the settings must be that very URL.",
        )

    def endpoint(name: str) -> str | None:
        value = document.get(name)
        if not isinstance(value, str):
            return None
        try:
            return require_https(value, f"{issuer}'s {name}")
        except BadSetting as error:
            raise ProviderBusy(error.sentence) from None

    def needed(name: str) -> str:
        value = endpoint(name)
        if value is None:
            raise ProviderBusy(f"{issuer} does not say where its {name} is.")
        return value

    return Metadata(
        issuer=found,
        authorization_endpoint=needed("authorization_endpoint"),
        token_endpoint=needed("token_endpoint"),
        jwks_uri=needed("jwks_uri"),
        userinfo_endpoint=endpoint("userinfo_endpoint"),
        revocation_endpoint=endpoint("revocation_endpoint"),
        introspection_endpoint=endpoint("introspection_endpoint"),
        end_session_endpoint=endpoint("end_session_endpoint"),
        raw=MappingProxyType(dict(document)),
    )
