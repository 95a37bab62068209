"""Log in through INDIGO IAM.

oauthenticator does the OAuth flow.  This class adds what it leaves out: discovery, a verified
id_token, an account by issuer and subject, and a grant that goes to the shepherd instead of into
``auth_state``.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from oauthenticator.oauth2 import OAuthenticator
from roost_shepherd.errors import BadSetting, NeedsLogin, ShepherdError, TokenInvalid, Transient
from roost_shepherd.http import HttpClient, require_https
from roost_shepherd.keys import TokenVerifier
from roost_shepherd.provider import TokenAnswer, sort_error
from roost_shepherd.shepherd import Shepherd
from tornado import web
from tornado.ioloop import IOLoop
from traitlets import Instance, List, TraitError, Unicode, default, validate

from roost_authenticator.claims import Identity, identity
from roost_authenticator.errors import (
    AuthenticatorError,
    BadMapFile,
    LoginFailed,
    LoginRefused,
)
from roost_authenticator.handlers import (
    IAMCallbackHandler,
    IAMLoginHandler,
    nonce_of,
    unavailable,
)
from roost_authenticator.mapfile import MapFile

if TYPE_CHECKING:
    from collections.abc import Mapping

BASE_SCOPES = ("openid", "profile", "email", "offline_access", "wlcg", "wlcg.groups")
CLUSTER_SCOPES = ("compute.read", "compute.create", "compute.modify", "compute.cancel")

# The states of a grant in which only a new login helps.  `none` is not among them: somebody
# without a grant may still use the hub, and hears about it when a cluster needs the token.
_ENDED = frozenset({"needs_login", "revoked", "suspended", "aup_required"})


@dataclass(frozen=True, slots=True)
class _PendingGrant:
    """What the provider granted to somebody who may not be let in yet."""

    issuer: str
    subject: str
    answer: TokenAnswer = field(repr=False)


class IAMOAuthenticator(OAuthenticator):  # type: ignore[misc]
    """Log people in through an INDIGO IAM, and hand their grants to the shepherd.

    Needs ``issuer``, ``client_id``, ``client_secret``, ``oauth_callback_url`` and ``map_file``; the
    issuer's discovery document tells the rest.
    """

    login_handler = IAMLoginHandler
    callback_handler = IAMCallbackHandler
    user_auth_state_key = "iam_user"

    issuer = Unicode(
        config=True,
        help="The IAM's issuer URL, as its /.well-known/openid-configuration says it.",
    )
    map_file = Unicode(
        config=True,
        help="""
        The file that says which account belongs to whom, in lines
        `SCITOKENS <issuer>,<subject> <account>`: the access point's own map file may serve.
        It is read again when it changes.
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
    shepherd = Instance(Shepherd, help="Keeps the grants and renews the tokens.")

    # -- defaults ------------------------------------------------------------------------------

    @default("login_service")
    def _default_login_service(self) -> str:
        return "IAM"

    @default("scope")
    def _default_scope(self) -> list[str]:
        return [*BASE_SCOPES, *self.cluster_scopes]

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

    @default("shepherd")
    def _default_shepherd(self) -> Shepherd:
        return Shepherd(
            parent=self,
            issuer=self.issuer,
            client_id=self.client_id,
            client_secret=self.client_secret,
            verifier=self.verifier,
            ca_certs=self.ca_file or None,
        )

    @validate("issuer")
    def _validate_issuer(self, proposal: Mapping[str, Any]) -> str:
        try:
            return require_https(proposal["value"], "IAMOAuthenticator.issuer")
        except BadSetting as error:
            raise TraitError(error.sentence) from None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("issuer", "client_id", "client_secret", "map_file"):
            if not getattr(self, name):
                raise TraitError(f"c.IAMOAuthenticator.{name} is not set; it has no default.")
        if self.username_map:
            raise TraitError(
                "c.IAMOAuthenticator.username_map is set; accounts come from "
                f"{self.map_file} alone, so that hub and clusters agree."
            )
        ca_certs = self.ca_file or None
        self.verifier = TokenVerifier(self.issuer, ca_certs=ca_certs)
        self._http = HttpClient(ca_certs=ca_certs)
        self._map = MapFile(self.map_file, log=self.log)

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """Return the login's handlers, and set the shepherd to work: the hub starts here.

        A vault that cannot be used stops the hub now, and not the first login.
        """
        try:
            self.shepherd.open()
        except ShepherdError as error:
            app.exit(error.sentence)
        IOLoop.current().add_callback(self.shepherd.start)
        return cast("list[tuple[str, type]]", super().get_handlers(app))

    # -- login ---------------------------------------------------------------------------------

    async def discover(self) -> None:
        """Learn the issuer's endpoints, from the cache while it is fresh.

        Raises
        ------
        Transient
            If they are not known yet and the issuer does not answer.
        """
        metadata = await self.verifier.metadata()
        self.authorize_url = metadata.authorization_endpoint
        self.token_url = metadata.token_endpoint
        self.userdata_url = metadata.userinfo_endpoint or ""

    def normalize_username(self, username: str) -> str:
        """Return the account's name as it is."""
        # JupyterHub would lower its case: then it would be another account, or none.
        return username

    async def authenticate(
        self,
        handler: IAMCallbackHandler,
        data: object = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Return who came back from the identity provider, or raise the page that says why not."""
        try:
            await self.discover()
            form = self.build_access_tokens_request_params(handler, data)
            sent_at = time.time()
            response = await self.get_token_info(handler, form)
            answer = TokenAnswer.from_response(response, now=sent_at, requested=self.scope)
            nonce = nonce_of(handler.get_state_cookie())
            person = await self._verified(answer.id_token, nonce)
            # Upstream's own way from here on, but without the tokens.
            model = await self._token_to_auth_model(
                {"identity": person, "scope": sorted(answer.scopes)}
            )
        except (AuthenticatorError, ShepherdError) as error:
            self.log.warning("Login not possible: %s", error)
            raise self._page(error) from None
        handler.pending_grant = _PendingGrant(person.issuer, person.subject, answer)
        return cast("dict[str, Any]", model)

    async def get_token_info(
        self,
        handler: IAMCallbackHandler,  # noqa: ARG002  (upstream's signature)
        params: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Exchange the code at the token endpoint.

        Raises
        ------
        LoginFailed, ShepherdError
            Without anything that the provider wrote.
        """
        # Upstream's writes whatever the provider answers into the log and onto the error page.
        form = {name: value for name, value in params.items() if value is not None}
        answer = await self._http.fetch(
            "POST",
            self.token_url,
            headers=self.build_token_info_request_headers(),
            body=urlencode(form),
        )
        body = answer.json()
        if answer.status != 200 or body is None:
            refused = sort_error(answer.status, body, issuer=self.issuer)
            if isinstance(refused, NeedsLogin):
                raise LoginFailed(
                    f"{self.issuer} does not accept this login any more; please log in again.",
                    detail=refused.detail,
                )
            raise refused
        return body

    def _page(self, error: AuthenticatorError | ShepherdError) -> web.HTTPError:
        """Return the page that a failed login ends on."""
        if isinstance(error, TokenInvalid | LoginRefused):
            return web.HTTPError(403, error.sentence)
        if isinstance(error, LoginFailed):
            return web.HTTPError(400, error.sentence)
        if isinstance(error, BadMapFile):  # its sentence is for the admins, and in the log
            return web.HTTPError(
                503, f"The list of accounts cannot be read right now; please tell {self.contact}."
            )
        return unavailable(error)

    async def _verified(self, id_token: str | None, nonce: str) -> Identity:
        if id_token is None:
            raise LoginRefused(f"{self.issuer} sent no id_token, so nobody knows who you are.")
        claims = await self.verifier.verify(id_token, audience=self.client_id, nonce=nonce)
        return identity(claims)

    async def token_to_user(self, token_info: Mapping[str, Any]) -> dict[str, Any]:
        """Return the verified identity as JSON has it."""
        person: Identity = token_info["identity"]
        return asdict(person) | {"groups": list(person.groups)}

    def user_info_to_username(self, user_info: Mapping[str, Any]) -> str:
        """Return the account that the map file gives this person."""
        try:
            return self._map.account(user_info["issuer"], user_info["subject"])
        except LoginRefused as error:
            raise type(error)(
                f"{error.sentence} Please ask {self.contact}, and quote this sentence."
            ) from None

    def build_auth_state_dict(
        self, token_info: Mapping[str, Any], user_info: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what JupyterHub keeps: no token at all, those are the shepherd's."""
        return {"scope": token_info["scope"], self.user_auth_state_key: dict(user_info)}

    async def run_post_auth_hook(
        self, handler: IAMCallbackHandler, auth_model: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Hand the grant over, now that the user is let in."""
        model: dict[str, Any] | None = await super().run_post_auth_hook(handler, auth_model)
        pending, handler.pending_grant = handler.pending_grant, None
        if model is None or pending is None:
            return model
        try:
            await self.shepherd.store_grant(
                model["name"], issuer=pending.issuer, subject=pending.subject, answer=pending.answer
            )
        except ShepherdError as error:
            self.log.warning("The grant of %s cannot be kept: %s", model["name"], error)
            raise unavailable(error) from None
        return model

    # -- later ---------------------------------------------------------------------------------

    async def refresh_user(self, user: Any, *_: Any, **__: Any) -> bool:
        """Tell whether this user's login still stands.

        Only the end of the grant ends it.  A provider that does not answer, and whatever goes
        wrong here, do not: the user's notebooks run on, and their calls to the hub must work.
        """
        try:
            status = await self.shepherd.status(user.name)
        except Transient:
            return True
        except Exception:
            self.log.exception(
                "The state of %s's grant is not known; nobody is logged out", user.name
            )
            return True
        if status.state in _ENDED:
            self.log.info("%s has to log in again: the grant is %s", user.name, status.state)
            return False
        return True
