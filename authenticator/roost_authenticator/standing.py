"""Whether a login still stands: the grant's state, and who the user is by now.

Only two things end a login: the end of its grant, and the provider's word that the user is not one
of those who may enter.  A provider that does not answer, a map file that cannot be read, and
whatever goes wrong here, do not: the user's notebooks run on, and their calls to the hub must work.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jupyterhub.utils import maybe_future
from roost_shepherd.errors import Transient
from roost_shepherd.vault.models import GrantState

from roost_authenticator.claims import identity, identity_scopes, tells_groups
from roost_authenticator.departures import MARK, Departures
from roost_authenticator.errors import BadAccounts, BadClaims, LoginRefused
from roost_authenticator.freshness import NOTHING, Fresh, Freshness
from roost_authenticator.removal import Removal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roost_authenticator.authenticator import IAMOAuthenticator
    from roost_authenticator.blocks import Block

RENEW_AT = "claims_renew_at"
"""The name in ``auth_state`` of the time from which claims are asked for again."""

# The states of a grant in which only a new login helps.  `none` is not among them: somebody
# without a grant may still use the hub, and hears about it when a cluster needs the token.
_ENDED = frozenset(
    {
        *(GrantState.NEEDS_LOGIN, GrantState.REVOKED),
        *(GrantState.SUSPENDED, GrantState.AUP_REQUIRED),
    }
)


class Standing:
    """Judge logins while they live.

    Parameters
    ----------
    authenticator
        Whose settings count, and whose shepherd is asked.
    """

    def __init__(self, authenticator: IAMOAuthenticator) -> None:
        self._own = authenticator
        self._log = authenticator.log
        self._groups_are_told = False
        self._complained = False
        self._asked: dict[str, float] = {}
        self.freshness = Freshness(self._ask, log=authenticator.log)
        self.removal = Removal(log=authenticator.log)
        self.departures = Departures(
            self._forget,
            authenticator.is_needed,
            log=authenticator.log,
        )

    async def of(
        self, user: Any, handler: Any = None, *, within: float | None = None
    ) -> bool | dict[str, Any]:
        """Return what JupyterHub's ``refresh_user`` shall; never raises.

        Parameters
        ----------
        user, handler
            JupyterHub's user, and the handler of the request that asks.
        within
            Seconds: how old the provider's word may be.  Without it, it is good as long as the
            token that came with it is not due to be renewed.
        """
        if user.name in self._own.blocks:
            blocked = Fresh(refused="an admin blocked the account")
            await self._remove(user, handler, blocked, stop=True)
            return False
        try:
            return await self._judge(user, handler, within)
        except Transient:
            return True
        except Exception:
            self._log.exception(
                "The state of %s's grant is not known; nobody is logged out", user.name
            )
            return True

    def blocks(self) -> Mapping[str, Block]:
        """Return whom an admin has blocked, by name."""
        return self._own.blocks.now()

    def came(self, name: str) -> None:
        """Note a new login: what was known of the old one does not count any more."""
        self.freshness.drop(name)
        self._asked[name] = time.monotonic()
        self.departures.stay(name)

    async def _forget(self, name: str) -> None:
        await self._own.shepherd.forget(name)

    async def _judge(self, user: Any, handler: Any, within: float | None) -> bool | dict[str, Any]:
        status = await self._own.shepherd.status(user.name)
        if status.state in _ENDED:
            self._log.info("%s has to log in again: the grant is %s", user.name, status.state)
            if status.state == GrantState.SUSPENDED:
                # The grant stays: it is the IAM's to wake up again.
                await self._remove(user, handler, Fresh(refused="the IAM suspended the account"))
            return False
        if not self._own.enable_auth_state:
            return True
        state = await user.get_auth_state()
        if not state or not self._is_due(user.name, state, within):
            return True
        self._asked[user.name] = time.monotonic()
        fresh = await self.freshness.of(user.name, state)
        if fresh.refused is not None:
            await self._remove(user, handler, fresh)
            await self.departures.leave(user)
            return False
        if fresh.model is None:
            return True
        mark = {MARK: True} if user.name in self.departures else {}
        return {**fresh.model, "auth_state": {**fresh.model["auth_state"], **mark}}

    def _is_due(self, name: str, state: Mapping[str, Any], within: float | None) -> bool:
        if time.time() >= state.get(RENEW_AT, float("inf")):
            return True
        asked = self._asked.get(name, float("-inf"))
        return within is not None and time.monotonic() > asked + within

    async def _remove(
        self, user: Any, handler: Any, fresh: Fresh, *, stop: bool | None = None
    ) -> None:
        stop = self._own.on_loss_of_access == "stop" if stop is None else stop
        try:
            await self.removal.of(
                user, handler, why=fresh.refused or "", stop=stop, groups=fresh.groups
            )
        except Exception:
            self._log.exception("Could not take away what %s had", user.name)

    async def _ask(self, name: str, state: Mapping[str, Any]) -> Fresh:
        """Ask the provider who this user is by now."""
        own = self._own
        known = state[own.user_auth_state_key]
        scopes = identity_scopes(state.get("scope") or ())
        told = await own.shepherd.userinfo(name, scopes) if "openid" in scopes else None
        if told is None:
            self._complain(f"{own.issuer} has no userinfo endpoint that can be used")
            return NOTHING
        if told.claims.get("sub") != known["subject"]:
            # OpenID Connect Core 1.0, section 5.3.2: such an answer must not be used.
            self._log.error("The userinfo endpoint of %s spoke of somebody else", own.issuer)
            return NOTHING
        claims = {**told.claims, "iss": known["issuer"]}
        if own.account_claim and claims.get(own.account_claim) is None:
            claims[own.account_claim] = name  # the endpoint need not tell what the id_token does
        try:
            person = identity(claims, **own.reading)
            if tells_groups(claims, **own.reading):
                self._groups_are_told = True
            elif known["groups"] and not self._groups_are_told:
                # To take this for "in no group any more" would throw everybody out.
                self._complain(f"The userinfo endpoint of {own.issuer} tells nobody's groups")
                person = replace(person, groups=tuple(known["groups"]))
            return await self._judged(
                name,
                await own.model_of(person, claims, state["scope"], renew_at=told.renew_at),
            )
        except (BadClaims, BadAccounts) as error:
            self._log.warning("Nothing new is known of %s: %s", name, error)
            return NOTHING
        except LoginRefused as error:
            return Fresh(refused=error.sentence)

    async def _judged(self, name: str, model: dict[str, Any]) -> Fresh:
        """Decide as JupyterHub does at a login (``Authenticator.get_authenticated_user``)."""
        own, groups = self._own, tuple(model.get("groups") or ())
        if model["name"] != name:
            return Fresh(refused="the account belongs to somebody else by now")
        if not await maybe_future(own.check_blocked_users(name, model)):
            return Fresh(refused="the account is blocked", groups=groups)
        if not (own.allow_all or await maybe_future(own.check_allowed(name, model))):
            return Fresh(refused="none of their groups may enter any more", groups=groups)
        return Fresh(model=model, groups=groups)

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            self._log.warning("%s: groups are those of each user's last login", what)
