"""What a site may set of the login, and what is refused at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from oauthenticator.oauth2 import OAuthenticator
from roost_shepherd.errors import BadSetting
from roost_shepherd.http import require_https, require_proxy
from traitlets import Callable, Enum, Float, List, TraitError, Unicode, default, validate

from roost_authenticator.claims import Profile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LOGIN_SCOPES = ("openid", "profile", "email", "offline_access")
BASE_SCOPES = (*_LOGIN_SCOPES, "wlcg", "wlcg.groups")
_PROFILE_SCOPES = {
    Profile.IAM: _LOGIN_SCOPES,
    Profile.KC: _LOGIN_SCOPES,
    Profile.AARC: (*_LOGIN_SCOPES, "entitlements", "eduperson_entitlement"),
}
CLUSTER_SCOPES = ("compute.read", "compute.create", "compute.modify", "compute.cancel")
_FROM_DISCOVERY = "the issuer's discovery document says it"
_UNUSED = {
    "authorize_url": _FROM_DISCOVERY,
    "token_url": _FROM_DISCOVERY,
    "userdata_url": _FROM_DISCOVERY,
    "username_claim": "c.IAMOAuthenticator.account_claim takes a claim as the account's name",
    "validate_server_cert": "the IAM's certificate is always verified; "
    "c.IAMOAuthenticator.ca_file names other CAs than the system's",
    "http_request_kwargs": "c.IAMOAuthenticator.http_proxy and ca_file say how the IAM is asked",
    "userdata_params": "people are told by the id_token",
    "userdata_token_method": "access tokens are sent in headers only",
    "userdata_from_id_token": "people are told by the id_token in any case",
    "refresh_user_hook": "people are renewed from the IAM; account_hook is called then",
}
"""Settings of OAuthenticator that do nothing here, and what to do instead."""
_UNUSED_VARIABLES = {
    "OAUTH2_AUTHORIZE_URL": "authorize_url",
    "OAUTH2_TOKEN_URL": "token_url",
    "OAUTH2_USERDATA_URL": "userdata_url",
    "OAUTH2_USERNAME_KEY": "username_claim",
    "OAUTH2_USERDATA_REQUEST_TYPE": "userdata_token_method",
    "OAUTH_TLS_VERIFY": "validate_server_cert",
}


class IAMSettings(OAuthenticator):  # type: ignore[misc]
    """The settings of ``c.IAMOAuthenticator``."""

    issuer = Unicode(
        config=True,
        help="The IAM's issuer URL, as its /.well-known/openid-configuration says it.",
    )
    map_file = Unicode(
        config=True,
        help="""
        The file that says which account belongs to whom, in lines
        `SCITOKENS <issuer>,<subject> <account>`: the access point's own map file may serve.
        It is read again when it changes. One of `map_file`, `account_claim` and `account_hook`
        must be set.
        """,
    )
    account_claim = Unicode(
        config=True,
        help="""
        The claim of the id_token that is the account's name. Not `preferred_username`, unless the
        IAM's administrators alone set it: people choose theirs when they register. An account
        stays with the person who used it first.
        """,
    )
    account_hook = Callable(
        allow_none=True,
        default_value=None,
        config=True,
        help="""
        A function, or a coroutine, of the person (`issuer`, `subject`, `username`, `name`, `email`,
        `groups`) and the provider's claims, that returns the account's name, or None for nobody.
        It is called at logins and again when groups are renewed.
        """,
    )
    token_profile = Enum(
        [profile.value for profile in Profile],
        default_value=Profile.AUTO.value,
        config=True,
        help="""
        The token profile of the client at the IAM, which decides where groups are told: `wlcg`,
        `aarc`, `iam` or `kc`. `auto` asks for the scopes of `wlcg` and takes what comes.
        """,
    )
    entitlement_namespace = Unicode(
        config=True,
        help="""
        Whose entitlements are groups here, such as `urn:geant:example.org` (AARC-G069): needed for
        the profile `aarc`, since an IAM may pass on entitlements of others.
        """,
    )
    on_loss_of_access = Enum(
        ["stop", "keep"],
        default_value="stop",
        config=True,
        help="""
        What becomes of the running sessions of somebody whom the IAM's groups do not let in any
        more, or whose account was suspended: `stop` them, or `keep` them to their own end. Either
        way groups, admin rights and API tokens are gone, and nothing new can be started.
        """,
    )
    block_file = Unicode(
        config=True,
        help="""
        The file in which `roost block` keeps who is blocked; empty: nobody can be. It is read
        again when it changes.
        """,
    )
    audiences = List(
        Unicode(),
        config=True,
        help="""
        The audiences that tokens will be wanted for: each cluster's, and those of the site file's
        `tokens`. Sent as RFC 8707 `resource` at login; IAM gives later tokens for these only.
        """,
    )
    cluster_scopes = List(
        Unicode(),
        default_value=list(CLUSTER_SCOPES),
        config=True,
        help="Scopes to ask for besides those of the login itself, such as storage.read:/ .",
    )
    contact = Unicode(
        "the administrators of this hub",
        config=True,
        help="Whom people shall ask who are not let in; it stands in the sentence that they read.",
    )
    ca_file = Unicode(
        config=True,
        help="CA certificates in PEM form for calls to the IAM, if not the system's.",
    )

    http_proxy = Unicode(
        config=True,
        help="""
        URL of the HTTP proxy through which the IAM is asked, if this host does not reach it
        directly: `http://proxy.example.org:3128`, with `user:password@` before the host if the
        proxy wants them. TLS goes through it to the IAM, whose certificate is verified all the
        same. The variables `http_proxy` and `https_proxy` of the environment do not count.
        """,
    )

    clock_leeway = Float(
        10.0,
        min=0.0,
        config=True,
        help="""
        Seconds by which the IAM's clock and this host's may differ. Keep the clocks right instead
        of raising it: a token counts as long beyond its end, too.
        """,
    )

    @default("login_service")
    def _default_login_service(self) -> str:
        return "IAM"

    @default("scope")
    def _default_scope(self) -> list[str]:
        login = _PROFILE_SCOPES.get(Profile(self.token_profile), BASE_SCOPES)
        return [*login, *self.cluster_scopes]

    @default("custom_403_message")
    def _default_custom_403_message(self) -> str:
        return "You have an account here, but no group of yours may use this hub."

    @default("basic_auth")
    def _default_basic_auth(self) -> bool:
        return True  # as the shepherd does it; RFC 6749, section 2.3.1, prefers it

    @default("manage_groups")
    def _default_manage_groups(self) -> bool:
        return True

    @default("auth_state_groups_key")
    def _default_auth_state_groups_key(self) -> str:
        return f"{self.user_auth_state_key}.groups"

    @default("allow_all")
    def _default_allow_all(self) -> bool:
        # Whoever has an account is let in, unless the site says who.
        narrowed = self.allowed_users or self.allowed_groups or self.allowed_scopes
        return not (narrowed or self.allow_existing_users)

    @validate("issuer")
    def _validate_issuer(self, proposal: Mapping[str, Any]) -> str:
        try:
            return require_https(proposal["value"], "IAMOAuthenticator.issuer")
        except BadSetting as error:
            raise TraitError(error.sentence) from None

    @validate("http_proxy")
    def _validate_http_proxy(self, proposal: Mapping[str, Any]) -> str:
        try:
            return require_proxy(proposal["value"], "IAMOAuthenticator.http_proxy")
        except BadSetting as error:
            raise TraitError(error.sentence) from None

    @property
    def reading(self) -> dict[str, Any]:
        """How claims are read."""
        return {
            "profile": Profile(self.token_profile),
            "namespace": self.entitlement_namespace,
        }

    def check_settings(self, given: Iterable[str] = ()) -> None:
        """Refuse what cannot work, and what would be set in vain.

        Parameters
        ----------
        given
            Names that were set without the configuration.

        Raises
        ------
        TraitError
            With a sentence that names the setting.
        """
        for name in ("issuer", "client_id", "client_secret"):
            if not getattr(self, name):
                raise TraitError(f"c.IAMOAuthenticator.{name} is not set; it has no default.")
        self._refuse_unused(given)
        if self.username_map:
            raise TraitError(
                "c.IAMOAuthenticator.username_map is set; accounts come from one source alone, "
                "so that hub and clusters agree."
            )
        if self.token_profile == Profile.AARC and not self.entitlement_namespace:
            raise TraitError(
                "c.IAMOAuthenticator.entitlement_namespace is not set; the token profile aarc "
                "needs it, e.g. urn:geant:example.org."
            )

    def _refuse_unused(self, given: Iterable[str]) -> None:
        sections = (self.config.get(kind.__name__, {}) for kind in type(self).__mro__)
        found = {name for section in sections for name in section}.union(given) & _UNUSED.keys()
        if self.validate_server_cert:
            found.discard("validate_server_cert")
        if found:
            told = "; ".join(
                f"c.IAMOAuthenticator.{name} does nothing here, so it must not be set: "
                f"{_UNUSED[name]}"
                for name in sorted(found)
            )
            raise TraitError(f"{told}.")
        for variable, name in _UNUSED_VARIABLES.items():
            if os.environ.get(variable):
                self.log.warning(
                    "The environment's %s does nothing here: %s", variable, _UNUSED[name]
                )
