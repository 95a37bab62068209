"""What the agent carries into the job: the access tokens that a session gets, and how they stand.

A session starts whether or not its tokens can be had.  What is wrong with one is said where people
look: on the pending page, in the status API, and in the session's own status file.
"""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from roost_shepherd import audit
from roost_shepherd.errors import ScopeRefused, ShepherdError

from roost_spawner import metrics
from roost_spawner.notices import Notice

if TYPE_CHECKING:
    import logging

    from roost_shepherd.shepherd import AccessToken, Shepherd

    from roost_spawner.record import Record, Wish
    from roost_spawner.sessions import Session

_AGAIN_SOON, _AGAIN_LATER = 10.0, 60.0
"""Seconds after which a token is asked for again that could not be had: if the provider is away,
and if it refused."""
SHARED = (
    "This session is shared with others, who could read its access tokens: it has none while it "
    "is. Where the hub permits it, its owner can allow that others use them when they start it."
)
NOT_ALLOWED = "You may not use this hub any more, so this session gets no fresh access tokens."
_SHARED_NO_MORE = "This session is no longer shared: it has its access tokens again."


class TokenState(enum.StrEnum):
    """How one token of a session stands."""

    GOOD = "good"
    RETRYING = "retrying"
    """It should have been renewed by now, and the provider does not answer."""
    MISSING = "missing"
    """It cannot be had; the message says why."""
    WITHHELD = "withheld"
    """The session is shared, and its owner has not allowed that others get its tokens."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one token stands; nothing here is secret.

    Attributes
    ----------
    state
        See :class:`TokenState`.
    expires_at
        When it ends, in seconds since the epoch; None if there is none.
    missing_scopes
        What was asked for and not given.
    message
        What is wrong with it, a sentence; empty if nothing is.
    away, since
        Who does not answer, and since when, in seconds since the epoch: whoever shows it says it
        by a clock that its reader knows.
    """

    state: TokenState
    expires_at: float | None = None
    missing_scopes: tuple[str, ...] = ()
    message: str = ""
    away: str = ""
    since: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "state": str(self.state),
            "expires_at": self.expires_at,
            "missing_scopes": list(self.missing_scopes),
            "message": self.message,
            "away": self.away,
            "since": self.since,
        }


@dataclass(frozen=True, slots=True)
class Handout:
    """What a session gets when it asks for its tokens.

    Attributes
    ----------
    tokens
        By name: ``value``, ``expires_at``, ``refresh_in``.  ``default`` is among them if any is:
        the one of that name, or else the first.
    standings
        By name, of all that it is to have.
    again_in
        Seconds after which to ask again, whatever the tokens say; None if they alone count.
    failure
        Why one cannot be had, if so.
    issued_at
        When each was issued, in seconds since the epoch.
    """

    tokens: dict[str, dict[str, Any]] = field(repr=False, default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    again_in: float | None = None
    failure: ShepherdError | None = None
    issued_at: dict[str, float] = field(default_factory=dict)

    @property
    def states(self) -> dict[str, dict[str, Any]]:
        """The standings as JSON takes them."""
        return {name: standing.to_json() for name, standing in self.standings.items()}

    @property
    def none(self) -> bool:
        """Whether there is none, though there should be."""
        return self.failure is not None and not self.tokens

    @property
    def content(self) -> dict[str, Any]:
        """What the agent is told."""
        return {"tokens": self.tokens, "token_states": self.states, "again_in": self.again_in}


async def fresh_tokens(shepherd: Shepherd, record: Record, log: logging.Logger) -> Handout:
    """Return a session's access tokens; those that cannot be had now are named with the reason."""
    tokens: dict[str, dict[str, Any]] = {}
    standings: dict[str, Standing] = {}
    issued_at: dict[str, float] = {}
    failure: ShepherdError | None = None
    again_in: float | None = None
    for name, wish in record.wishes.items():
        try:
            token = await shepherd.access_token(
                record.account, audience=wish.audience, scopes=wish.scope.split()
            )
        except ShepherdError as error:
            log.warning("Token %s of session %s: %s", name, record.mark, error)
            failure = error
            pause = _AGAIN_SOON if error.retryable else _AGAIN_LATER
            again_in = min(again_in or pause, pause)
            message = f"No token {name} can be had: {error.sentence}"
            missing = error.missing if isinstance(error, ScopeRefused) else ()
            if missing:
                message += f" Your login there does not have {_scopes(missing)}."
            since = await _failing_since(shepherd, record) if error.retryable else None
            standings[name] = _late(
                TokenState.MISSING, record, since, missing=missing, message=message
            )
            continue
        tokens[name] = {
            "value": token.value,
            "expires_at": token.expires_at,
            "refresh_in": max(token.refresh_in(time.time()), 1.0),
        }
        issued_at[name] = token.issued_at
        standings[name] = await _standing(shepherd, record, name, wish, token)
    if "default" not in record.wishes and record.wishes:
        first = next(iter(record.wishes))
        standings["default"] = standings[first]
        if first in tokens:
            tokens["default"] = tokens[first]
    return Handout(tokens, standings, again_in, failure, issued_at)


def withheld(record: Record, again_in: float) -> Handout:
    """Return what a session gets whose tokens others could read: none, and why."""
    standing = Standing(TokenState.WITHHELD, message=SHARED)
    names = [*record.wishes, "default"] if record.wishes else []
    return Handout({}, dict.fromkeys(names, standing), again_in)


def refused(record: Record) -> Handout:
    """Return what a session gets whose user may not use the hub any more: none, and why."""
    standing = Standing(TokenState.MISSING, message=NOT_ALLOWED)
    names = [*record.wishes, "default"] if record.wishes else []
    return Handout({}, dict.fromkeys(names, standing), _AGAIN_LATER)


async def _standing(
    shepherd: Shepherd, record: Record, name: str, wish: Wish, token: AccessToken
) -> Standing:
    missing = tuple(scope for scope in wish.scope.split() if scope not in token.scopes)
    message = ""
    if missing:
        message = f"The token {name} lacks {_scopes(missing)}: "
        message += f"{_host(record.issuer)} did not give it."
        if len(missing) > 1:
            message = message.removesuffix("it.") + "them."
    if token.renew_at is not None and token.renew_at <= time.time():
        since = await _failing_since(shepherd, record)
        if since is not None:
            state, ends = TokenState.RETRYING, token.expires_at
            return _late(state, record, since, ends=ends, missing=missing, message=message)
    return Standing(TokenState.GOOD, token.expires_at, missing, message)


def _late(
    state: TokenState,
    record: Record,
    since: float | None,
    *,
    ends: float | None = None,
    missing: tuple[str, ...] = (),
    message: str = "",
) -> Standing:
    away = "" if since is None else _host(record.issuer)
    return Standing(state, ends, missing, message, away, since)


async def _failing_since(shepherd: Shepherd, record: Record) -> float | None:
    try:
        return (await shepherd.status(record.account)).failing_since
    except ShepherdError:
        return None  # the vault itself cannot be read; what happened to the token is told already


def _scopes(names: tuple[str, ...]) -> str:
    return f"the scope{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _host(issuer: str) -> str:
    """Return the provider's name as people know it."""
    return urlsplit(issuer).hostname or "the identity provider"


def tell(session: Session, handout: Handout) -> None:
    """Take note of what a session was given, for who looks at it and for the metrics."""
    if handout.tokens:
        record = session.record
        audit.note("tokens", user=record.account, session=record.mark, names=sorted(handout.tokens))
    for name, issued_at in handout.issued_at.items():
        expires_at = handout.tokens[name]["expires_at"]
        before = session.delivered.get(name)
        session.delivered[name] = expires_at
        # The first that a session gets may have been somebody's before: nobody waited for it.
        if issued_at and before is not None and before != expires_at:
            metrics.DELIVERY.observe(max(time.time() - issued_at, 0.0))
    was, now = _shared(session.tokens), _shared(handout.standings)
    if was != now:
        level, words = ("warning", SHARED) if now else ("info", _SHARED_NO_MORE)
        session.warn(Notice(level, words, time.time()))
    if session.tokens != handout.standings:
        session.tokens = handout.standings
        session.wake()
    if not session.record.ready:
        for standing in handout.standings.values():
            if standing.message:
                session.say(66, standing.message)  # once, whatever has it


def _shared(standings: dict[str, Standing]) -> bool:
    return any(standing.state is TokenState.WITHHELD for standing in standings.values())
