"""The one owner of all refresh tokens, as a configurable: the vault, its renewals, and the loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from traitlets import Float, Integer, List, Unicode, default
from traitlets.config import LoggingConfigurable

from roost_shepherd.errors import ShepherdError
from roost_shepherd.expiry import jwt_expiry
from roost_shepherd.provider import Provider
from roost_shepherd.renewal import Renewals
from roost_shepherd.service import ServiceTokens
from roost_shepherd.threads import Threads
from roost_shepherd.timing import LEASE, Timing
from roost_shepherd.vault.crypto import Cipher
from roost_shepherd.vault.models import GrantState
from roost_shepherd.vault.records import Want
from roost_shepherd.vault.store import Vault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roost_shepherd.keys import TokenVerifier
    from roost_shepherd.provider import TokenAnswer
    from roost_shepherd.vault.records import Due, StoredToken

_LOOK_LEAST = 0.5
_LOOK_MOST = 10.0


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token to hand out."""

    value: str = field(repr=False)
    expires_at: float
    audience: str
    scopes: frozenset[str]
    renew_at: float | None = None

    def refresh_in(self, now: float) -> float:
        """Return in how many seconds its holder should come for the next one.

        That is the token's renewal deadline (2/3 of its life).  After it, while the provider is
        away, soon, but never in a hot loop.
        """
        left = self.expires_at - now
        until = (self.renew_at - now) if self.renew_at is not None else left * 2 / 3
        return until if until > 0 else max(1.0, min(30.0, left / 3))


@dataclass(frozen=True, slots=True)
class GrantStatus:
    """How a user's grant is doing; nothing here is secret."""

    state: GrantState
    subject: str | None = None
    issuer: str | None = None
    good_until: float | None = None
    """When the first of the access tokens that are in use ends."""
    login_until: float | None = None
    """When the refresh token ends, where the provider tells."""
    failing_since: float | None = None
    last_error: str | None = None
    """In words for the user."""


class Shepherd(LoggingConfigurable):
    """Keep every grant in the vault and every access token in use fresh.

    One process may have several, and several processes may share a vault.  It opens by itself at
    first use; :meth:`open` does it at once and says what is wrong.
    """

    issuer = Unicode(help="URL of the identity provider, as its discovery document has it.").tag(
        config=True
    )
    client_id = Unicode(help="The client that all refresh tokens belong to.").tag(config=True)
    client_secret = Unicode(help="Its secret.").tag(config=True)
    audience_parameter = Unicode(
        "resource",
        help="How the provider is asked for an audience: `resource` (RFC 8707), or `audience` for "
        "older INDIGO IAMs.",
    ).tag(config=True)
    ca_certs = Unicode(
        allow_none=True, default_value=None, help="File of CA certificates, if not the system's."
    ).tag(config=True)
    vault_url = Unicode(
        "sqlite:///roost-vault.sqlite",
        help="SQLAlchemy URL of the vault: a SQLite file, made with mode 0600, or PostgreSQL.",
    ).tag(config=True)
    vault_keys = List(
        Unicode(),
        help="Keys of 32 bytes in hex or base64, the newest first. From the environment variable "
        "ROOST_VAULT_KEYS, separated by ';', if not set here.",
    ).tag(config=True)
    lease = Float(
        LEASE,
        min=30.0,
        help="Seconds after which another process may renew a grant whose renewal never ended. "
        "Longer than any call to the provider takes, or two processes show one refresh token.",
    ).tag(config=True)
    parallel = Integer(8, min=1, help="Renewals at once.").tag(config=True)

    @default("vault_keys")
    def _vault_keys_from_environment(self) -> list[str]:
        return [key for key in os.environ.get("ROOST_VAULT_KEYS", "").split(";") if key.strip()]

    def __init__(
        self,
        *,
        verifier: TokenVerifier | None = None,
        timing: Timing | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._timing = timing or Timing(lease=self.lease)
        self._verifier = verifier
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._opening = asyncio.Lock()
        self._vault: Vault | None = None
        self._threads: Threads | None = None
        self._provider: Provider | None = None
        self._renewals: Renewals | None = None
        self._service: ServiceTokens | None = None
        self._loop_task: asyncio.Task[None] | None = None

    # -- for users' sessions -----------------------------------------------------------------

    async def store_grant(
        self, owner: str, *, issuer: str, subject: str, answer: TokenAnswer
    ) -> None:
        """Keep what a login gave.  It takes the place of the owner's earlier grant.

        Parameters
        ----------
        owner
            The user's name at the hub.
        issuer, subject
            Who they are, from the verified id_token.
        answer
            The token endpoint's answer, with a refresh token.
        """
        vault, threads, _ = await self._ready()
        if answer.refresh_token is None:
            self.log.warning(
                "The login of %s brought no refresh token; the client at %s needs the scope "
                "offline_access and the grant type refresh_token",
                owner,
                issuer,
            )
        await threads.run(
            vault.put_grant,
            owner,
            issuer=issuer,
            subject=subject,
            refresh_token=answer.refresh_token,
            refresh_expires_at=jwt_expiry(answer.refresh_token),
            scopes=answer.scopes,
        )

    async def access_token(
        self, owner: str, *, audience: str, scopes: Iterable[str], min_valid: float = 0
    ) -> AccessToken:
        """Return a token of ``owner`` for one audience.

        From the vault while it is fresh, else renewed, once for all who ask.  While the provider
        is away, one that is still valid goes on to serve.

        Parameters
        ----------
        owner
            The user's name at the hub.
        audience, scopes
            What for.  What was really granted is in the result's ``scopes``.
        min_valid
            Seconds that it should still be good for.

        Raises
        ------
        Transient
            If there is none and the provider cannot be asked now.
        Terminal
            If only a human can help; ``sentence`` says who must do what.
        """
        _, _, renewals = await self._ready()
        want = Want(audience, frozenset(scopes))
        return _handed_out(want, await renewals.token(owner, want, min_valid=min_valid))

    async def status(self, owner: str) -> GrantStatus:
        """Return how the owner's grant is doing, without asking the provider."""
        vault, threads, _ = await self._ready()
        grant = await threads.run(vault.grant, owner)
        if grant is None:
            return GrantStatus(GrantState.NONE)
        return GrantStatus(
            state=grant.state,
            subject=grant.subject,
            issuer=grant.issuer,
            good_until=await threads.run(vault.good_until, owner),
            login_until=grant.refresh_expires_at,
            failing_since=grant.failing_since,
            last_error=grant.last_error or None,
        )

    async def forget(self, owner: str) -> None:
        """Give the owner's grant up: here at once, at the provider if it answers (RFC 7009)."""
        vault, threads, _ = await self._ready()
        refresh_token = await threads.run(vault.end_grant, owner)
        if refresh_token is None or self._provider is None:
            return
        try:
            await self._provider.revoke(refresh_token)
        except ShepherdError as error:
            self.log.warning("Could not revoke the grant of %s: %s", owner, error)

    # -- for the hub itself ------------------------------------------------------------------

    async def service_token(self, *, audience: str, scopes: Iterable[str]) -> AccessToken:
        """Return the hub's own token (client credentials), kept in memory only.

        Raises
        ------
        Transient, Terminal
            As :meth:`access_token`.
        """
        await self._ready()
        assert self._service is not None
        want = Want(audience, frozenset(scopes))
        return _handed_out(want, await self._service.token(want))

    # -- life --------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the vault now.  Blocks: for start-up, before the event loop has work.

        Raises
        ------
        VaultError, BadSetting
            With a sentence that says what to set.
        """
        if self._renewals is not None:
            return
        cipher = Cipher(self.vault_keys)
        provider = Provider(
            self.issuer,
            self.client_id,
            self.client_secret,
            verifier=self._verifier,
            ca_certs=self.ca_certs,
            audience_parameter=self.audience_parameter,
            clock=self._timing.clock,
        )
        self._vault = Vault(self.vault_url, cipher, clock=self._timing.clock)
        self._provider = provider
        self._service = ServiceTokens(provider, self._timing)
        self._threads = Threads(_threads_for(self.vault_url))
        self._renewals = Renewals(
            self._vault,
            self._threads,
            provider,
            holder=self._holder,
            timing=self._timing,
            log=self.log,
        )

    async def start(self) -> None:
        """Open the vault and begin the loop.  Twice is harmless.  Raises as :meth:`open`."""
        await self._ready()
        if self._loop_task is None:
            self._loop_task = asyncio.create_task(self._loop(), name="roost-shepherd")

    async def stop(self) -> None:
        """End the loop, wait for renewals under way to be committed, and close the vault."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task
            self._loop_task = None
        if self._renewals is not None:
            await self._renewals.drain()
            self._renewals = None
        if self._threads is not None and self._vault is not None:
            await self._threads.run(self._vault.close)
            await asyncio.to_thread(self._threads.close)
            self._threads = self._vault = None
        if self._provider is not None:
            self._provider.close()
            self._provider = self._service = None

    async def _ready(self) -> tuple[Vault, Threads, Renewals]:
        if self._renewals is None:
            async with self._opening:
                await asyncio.to_thread(self.open)
        assert self._vault is not None
        assert self._threads is not None
        assert self._renewals is not None
        return self._vault, self._threads, self._renewals

    # -- the loop ----------------------------------------------------------------------------

    async def _loop(self) -> None:
        while True:
            try:
                wait = await self._round()
            except Exception:
                self.log.exception("A round of renewals failed")
                wait = _LOOK_MOST
            await asyncio.sleep(wait)

    async def _round(self) -> float:
        """Renew what is due; return how many seconds to wait."""
        vault, threads, renewals = await self._ready()
        due = await threads.run(vault.in_use, before=self._timing.clock())
        gate = asyncio.Semaphore(self.parallel)

        async def renew(item: Due) -> None:
            async with gate:
                try:
                    await renewals.token(item.owner, item.want, take=False)
                except ShepherdError as error:
                    # Its state and sentence are in the vault by now.
                    self.log.debug("%s has no fresh token: %s", item.owner, error)
                except Exception:
                    self.log.exception("The renewal of a token of %s failed", item.owner)

        await asyncio.gather(*(renew(item) for item in due))
        coming = await threads.run(vault.in_use, limit=1)
        wait = coming[0].renew_at - self._timing.clock() if coming else _LOOK_MOST
        return min(_LOOK_MOST, max(_LOOK_LEAST, wait))


def _handed_out(want: Want, token: StoredToken) -> AccessToken:
    return AccessToken(
        value=token.value,
        expires_at=token.expires_at,
        audience=want.audience,
        scopes=token.scopes,
        renew_at=token.renew_at,
    )


def _threads_for(url: str) -> int:
    """Return how many threads the vault gets: SQLite has one writer, servers have many."""
    try:
        return 1 if make_url(url).get_backend_name() == "sqlite" else 4
    except ArgumentError:
        return 1
