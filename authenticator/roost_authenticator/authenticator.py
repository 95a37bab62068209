"""Log in through INDIGO IAM.

oauthenticator does the OAuth flow.  This class adds what it leaves out: discovery, a verified
id_token, an account by issuer and subject, and a grant that goes to the shepherd instead of into
``auth_state``.
"""

from __future__ import annotations

import base64
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote_plus, urlencode

from jupyterhub import orm
from roost_shepherd import audit
from roost_shepherd.errors import (
    AccountSuspended,
    AupRequired,
    NeedsLogin,
    ShepherdError,
    TokenInvalid,
)
from roost_shepherd.expiry import deadline
from roost_shepherd.http import HttpClient
from roost_shepherd.keys import TokenVerifier
from roost_shepherd.provider import TokenAnswer, sort_error
from roost_shepherd.shepherd import Shepherd
from tornado import web
from tornado.ioloop import IOLoop
from traitlets import Instance, TraitError, default

from roost_authenticator import pages
from roost_authenticator.accounts import Accounts, ByClaim, ByHook, ByMapFile
from roost_authenticator.blocks import BadBlocks, Blocks
from roost_authenticator.claims import Identity, identity
from roost_authenticator.errors import (
    AccountTaken,
    AuthenticatorError,
    BadAccounts,
    LoginFailed,
    LoginRefused,
    NotMapped,
    UnsafeAccount,
)
from roost_authenticator.handlers import (
    IAMCallbackHandler,
    IAMLoginHandler,
    IAMLogoutHandler,
    IAMSignInHandler,
    nonce_of,
    unavailable,
)
from roost_authenticator.mapfile import MapFile
from roost_authenticator.settings import BASE_SCOPES, CLUSTER_SCOPES, IAMSettings
from roost_authenticator.standing import RENEW_AT, Standing
from roost_authenticator.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["BASE_SCOPES", "CLUSTER_SCOPES", "IAMOAuthenticator"]

TOKENS_WITHIN = 60.0
"""Seconds: how old the provider's word about a user may be when a session gets tokens."""


@dataclass(frozen=True, slots=True)
class _PendingGrant:
    """What the provider granted to somebody who may not be let in yet."""

    issuer: str
    subject: str
    answer: TokenAnswer = field(repr=False)


class IAMOAuthenticator(IAMSettings):
    """Log people in through an INDIGO IAM, and hand their grants to the shepherd.

    Needs ``issuer``, ``client_id``, ``client_secret``, ``oauth_callback_url`` and one source of
    accounts, such as ``map_file``; the issuer's discovery document tells the rest.
    """

    login_handler = IAMLoginHandler
    callback_handler = IAMCallbackHandler
    logout_handler = IAMLogoutHandler
    user_auth_state_key = "iam_user"

    shepherd = Instance(Shepherd, help="Keeps the grants and renews the tokens.")

    @default("shepherd")
    def _default_shepherd(self) -> Shepherd:
        return Shepherd(
            parent=self,
            issuer=self.issuer,
            client_id=self.client_id,
            client_secret=self.client_secret,
            verifier=self.verifier,
            ca_certs=self.ca_file or None,
            http_proxy=self.http_proxy,
        )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check_settings(kwargs)
        ca_certs, proxy = self.ca_file or None, self.http_proxy
        self.verifier = TokenVerifier(
            self.issuer, ca_certs=ca_certs, http_proxy=proxy, leeway=self.clock_leeway
        )
        self._http = HttpClient(ca_certs=ca_certs, http_proxy=proxy)
        self._accounts = self._source_of_accounts()
        self.blocks = Blocks(self.block_file, self.log)
        self.standing = Standing(self)
        self.sweep = Sweep(self.standing, log=self.log)
        self.sessions_of: list[Any] = []
        """Functions that tell, for a user's name, whether a session still needs their grant."""
        self._app: Any = None

    async def close(self) -> None:
        """Stop the shepherd, and close the connections to the provider; the next use opens all."""
        # First who asks: what is asked for after the shepherd's end would open it again.
        await self.standing.freshness.close()
        await self.shepherd.stop()
        await self.verifier.close()
        await self._http.close()

    def _source_of_accounts(self) -> Accounts:
        sources: dict[str, Accounts] = {}
        if self.map_file:
            sources["map_file"] = ByMapFile(MapFile(self.map_file, log=self.log))
        if self.account_claim:
            sources["account_claim"] = ByClaim(self.account_claim)
        if self.account_hook is not None:
            sources["account_hook"] = ByHook(self.account_hook)
        if len(sources) != 1:
            found = " and ".join(sources) or "none"
            raise TraitError(
                "Exactly one of c.IAMOAuthenticator.map_file, account_claim and account_hook must "
                f"say whose account is whose; set is: {found}."
            )
        return next(iter(sources.values()))

    def is_needed(self, name: str) -> bool:
        """Tell whether a session of this user still needs their grant."""
        if any(needs(name) for needs in self.sessions_of):
            return True
        return self._app is not None and self.count_sessions(name) > 0

    def count_sessions(self, name: str) -> int:
        """Return how many servers of this user run, start or stop."""
        found = orm.User.find(self._app.db, name)
        if found is None:
            return 0
        user = self._app.users[found.id]
        return sum(
            bool(server.server) or (known in user.spawners and user.spawners[known].active)
            for known, server in found.orm_spawners.items()
        )

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """Return the login's handlers, and set the shepherd to work: the hub starts here.

        A vault that cannot be used stops the hub now, and not the first login.
        """
        try:
            self.shepherd.open()
            self.blocks.open()
        except ShepherdError as error:
            app.exit(error.sentence)
        except BadBlocks as error:
            app.exit(str(error))
        self._app = app
        IOLoop.current().add_callback(self.shepherd.start)
        IOLoop.current().add_callback(self.standing.departures.run, app)
        IOLoop.current().add_callback(self.sweep.run, app)
        handlers = [*super().get_handlers(app), (r"/login", IAMSignInHandler)]
        return cast("list[tuple[str, type]]", handlers)

    def ask_for(self, audiences: Iterable[str], scopes: Iterable[str]) -> tuple[str, ...]:
        """Have logins ask for audiences and scopes that came up while the hub runs.

        A grant is good for what was asked for when it was given (RFC 6749, section 6; RFC 8707,
        section 2.2): who is logged in already has to log in again to get them.

        Returns
        -------
        tuple of str
            What had not been asked for before.
        """
        audience = tuple(sorted(set(audiences) - set(self.audiences)))
        scope = tuple(sorted(set(scopes) - set(self.scope)))
        self.audiences = [*self.audiences, *audience]
        self.set_trait("scope", [*self.scope, *scope])
        return (*audience, *scope)

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
        person: Identity | None = None
        try:
            await self.discover()
            form = self.build_access_tokens_request_params(handler, data)
            sent_at = time.time()
            response = await self.get_token_info(handler, form)
            answer = TokenAnswer.from_response(response, now=sent_at, requested=self.scope)
            nonce = nonce_of(handler.get_state_cookie())
            claims = await self._verified(answer.id_token, nonce)
            person = identity(claims, **self.reading)
            renew_at = deadline(answer.issued_at, answer.expires_at)
            model = await self.model_of(person, claims, answer.scopes, renew_at=renew_at)
            if self.account_claim:
                await self._first_come(model["name"], person)
        except (AuthenticatorError, ShepherdError) as error:
            self.log.warning("Login not possible: %s", error)
            audit.note(
                "login_refused",
                subject=person.subject if person else None,
                why=error.sentence,
                address=handler.request.remote_ip,
            )
            raise self.page(error, person) from None
        handler.pending_grant = _PendingGrant(person.issuer, person.subject, answer)
        return model

    async def model_of(
        self,
        person: Identity,
        claims: Mapping[str, Any],
        scopes: Iterable[str],
        *,
        renew_at: float,
    ) -> dict[str, Any]:
        """Return JupyterHub's model of a person, without any token.

        Parameters
        ----------
        person, claims
            Who they are, and all that the provider said about them.
        scopes
            Those that the grant has.
        renew_at
            When to ask the provider again, in seconds since the epoch.

        Raises
        ------
        AuthenticatorError
            If they have no account, or it cannot be told.
        """
        account = await self._accounts.account(person, claims)
        token_info = {
            "identity": person,
            "account": account,
            "scope": sorted(scopes),
            RENEW_AT: renew_at,
        }
        # Upstream's own way from here on, but without the tokens.
        return cast("dict[str, Any]", await self._token_to_auth_model(token_info))

    async def _first_come(self, name: str, person: Identity) -> None:
        """Refuse the account to anybody but the first who had it: a claim may be given twice."""
        found = orm.User.find(self._app.db, name)
        state = None if found is None else await self._app.users[found.id].get_auth_state()
        known = (state or {}).get(self.user_auth_state_key)
        if known and (known["issuer"], known["subject"]) != (person.issuer, person.subject):
            raise AccountTaken(
                f"The account {name} belongs to somebody else than {person.issuer}, "
                f"subject {person.subject}."
            )

    def build_token_info_request_headers(self) -> dict[str, str]:
        """Return the headers by which the hub shows who it is, as the shepherd does it."""
        headers: dict[str, str] = super().build_token_info_request_headers()
        if self.basic_auth:
            # RFC 6749, section 2.3.1: both are form-encoded before they are joined.
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        return headers

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

    def page(
        self, error: AuthenticatorError | ShepherdError, person: Identity | None = None
    ) -> web.HTTPError:
        """Return the page that a failed login ends on."""
        if isinstance(error, NotMapped | UnsafeAccount | AccountTaken) and person is not None:
            return pages.no_account(
                error.sentence,
                issuer=person.issuer,
                subject=person.subject,
                contact=self.contact,
                hub=self.oauth_callback_url.removesuffix("oauth_callback"),
            ).error()
        if isinstance(error, AupRequired | AccountSuspended):
            return self.waiting_page(error)
        if isinstance(error, TokenInvalid | LoginRefused):
            return web.HTTPError(403, error.sentence)
        if isinstance(error, LoginFailed):
            return web.HTTPError(400, error.sentence)
        if isinstance(error, BadAccounts):  # its sentence is for the admins, and in the log
            return web.HTTPError(
                503, f"The list of accounts cannot be read right now; please tell {self.contact}."
            )
        return unavailable(error)

    def not_allowed_page(self) -> web.HTTPError:
        """Return the page for somebody who has an account and is not let in."""
        return pages.not_allowed(self.custom_403_message, contact=self.contact).error()

    def waiting_page(
        self,
        error: AupRequired | AccountSuspended,
        *,
        sessions: int = 0,
        good_until: float | None = None,
        again: str = "oauth_login",
    ) -> web.HTTPError:
        """Return the page for a policy that is not signed, or a suspended account."""
        told = None
        if good_until is not None and good_until > time.time():
            told = time.strftime("%H:%M UTC", time.gmtime(good_until))
        return pages.waiting_for_the_user(
            error,
            issuer=self.issuer,
            sessions=sessions,
            good_until=told,
            stops=self.on_loss_of_access == "stop",
            again=again,
        ).error()

    async def _verified(self, id_token: str | None, nonce: str) -> Mapping[str, Any]:
        if id_token is None:
            raise LoginRefused(f"{self.issuer} sent no id_token, so nobody knows who you are.")
        return await self.verifier.verify(id_token, audience=self.client_id, nonce=nonce)

    async def token_to_user(self, token_info: Mapping[str, Any]) -> dict[str, Any]:
        """Return the verified identity as JSON has it, and its account."""
        person: Identity = token_info["identity"]
        return asdict(person) | {
            "groups": list(person.groups),
            "account": token_info["account"],
        }

    def user_info_to_username(self, user_info: Mapping[str, Any]) -> str:
        """Return the account that the source of accounts gave this person."""
        return str(user_info["account"])

    def build_auth_state_dict(
        self, token_info: Mapping[str, Any], user_info: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what JupyterHub keeps: no token at all, those are the shepherd's."""
        return {
            "scope": token_info["scope"],
            RENEW_AT: token_info[RENEW_AT],
            self.user_auth_state_key: dict(user_info),
        }

    async def run_post_auth_hook(
        self, handler: IAMCallbackHandler, auth_model: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Hand the grant over, now that the user is let in."""
        model: dict[str, Any] | None = await super().run_post_auth_hook(handler, auth_model)
        pending, handler.pending_grant = handler.pending_grant, None
        if model is None or pending is None:
            return model
        self.standing.came(model["name"])
        try:
            await self.shepherd.store_grant(
                model["name"], issuer=pending.issuer, subject=pending.subject, answer=pending.answer
            )
        except ShepherdError as error:
            self.log.warning("The grant of %s cannot be kept: %s", model["name"], error)
            raise unavailable(error) from None
        audit.note("login", user=model["name"], address=handler.request.remote_ip)
        return model

    def check_blocked_users(self, username: str, authentication: Any = None) -> Any:
        """Tell whether a user is not blocked, by an admin's command or JupyterHub's settings."""
        if username in self.blocks:
            audit.note("login_refused", user=username, why="blocked by an admin")
            return False
        return super().check_blocked_users(username, authentication)

    async def delete_user(self, user: Any) -> None:
        """Give the grant of a user whom an admin deletes up; a failure keeps nobody in the list."""
        super().delete_user(user)
        try:
            await self.standing.departures.leave(user)
        except Exception:
            self.log.exception("The grant of %s could not be given up", user.name)

    # -- later ---------------------------------------------------------------------------------

    async def refresh_user(self, user: Any, handler: Any = None, **_: Any) -> bool | dict[str, Any]:
        """Tell whether this user's login still stands, and who they are by now; never raises.

        JupyterHub calls it for requests of users who were not looked at for ``auth_refresh_age``
        seconds, and before each spawn.
        """
        return await self.standing.of(user, handler)

    async def may_have_tokens(self, user: Any, handler: Any) -> bool:
        """Tell whether a session gets fresh tokens: its user stood well a minute ago or less."""
        return await self.standing.of(user, handler, within=TOKENS_WITHIN) is not False
