"""The one owner of all refresh tokens, as a configurable: the vault, its renewals, and the loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Float, Integer, List, Unicode, default
from traitlets.config import LoggingConfigurable

from roost_shepherd.expiry import jwt_expiry
from roost_shepherd.given import require_no_more
from roost_shepherd.health import Health, Signs, judge
from roost_shepherd.http import require_proxy
from roost_shepherd.loop import Loop
from roost_shepherd.provider import Provider
from roost_shepherd.renewal import Renewals
from roost_shepherd.service import ServiceTokens
from roost_shepherd.spill import Spill, folder_for
from roost_shepherd.threads import Threads, writers_for
from roost_shepherd.timing import LEASE, Timing
from roost_shepherd.vault.crypto import Cipher
from roost_shepherd.vault.models import GrantState
from roost_shepherd.vault.records import Want
from roost_shepherd.vault.store import Vault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from roost_shepherd.keys import TokenVerifier
    from roost_shepherd.provider import TokenAnswer
    from roost_shepherd.vault.records import StoredToken


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token to hand out."""

    value: str = field(repr=False)
    expires_at: float
    audience: str
    scopes: frozenset[str]
    renew_at: float | None = None
    issued_at: float = 0.0
    """When it was made; 0 if that is not known."""

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


@dataclass(frozen=True, slots=True)
class Told:
    """What the provider says about a person now, and when to ask again."""

    claims: Mapping[str, Any]
    renew_at: float


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
    http_proxy = Unicode(help="As `IAMOAuthenticator.http_proxy`, which sets it.").tag(config=True)
    vault_url = Unicode(
        "sqlite:///roost-vault.sqlite",
        help="SQLAlchemy URL of the vault: a SQLite file, made with mode 0600, or PostgreSQL.",
    ).tag(config=True)
    answers_folder = Unicode(
        help="Folder for answers that the vault's database cannot be given yet, sealed with the "
        "vault's key. Empty: beside the vault's file, or `roost-vault-answers` in the working "
        "directory for a vault on a server.",
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
    exchange = Bool(
        default_value=False,
        help="Whether tokens for one audience are got by token exchange (RFC 8693) from a token of "
        "the user's own, where the provider says that it can and lets this client: the refresh "
        "token is shown once for all of them. Else, and where that is refused, by refresh.",
    ).tag(config=True)
    renew_ahead = Bool(
        default_value=True,
        help="Whether this process renews tokens before anyone asks. Set it to False in the hub's "
        "configuration where `roost-shepherd` does so; both at once is safe, and of no use.",
    ).tag(config=True)

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
        self._took_up = False
        self._vault: Vault | None = None
        self._threads: Threads | None = None
        self._provider: Provider | None = None
        self._renewals: Renewals | None = None
        self._service: ServiceTokens | None = None
        self._loop: Loop | None = None
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
            If only a human can help, or the token is good for more than was asked for.
        """
        _, _, renewals = await self._ready()
        want = Want(audience, frozenset(scopes))
        return self._handed_out(want, await renewals.token(owner, want, min_valid=min_valid))

    async def userinfo(self, owner: str, scopes: Iterable[str]) -> Told | None:
        """Ask the provider who ``owner`` is by now; ``None`` if it has no place to ask.

        The access token for it has no audience, and is renewed only when somebody asks.

        Raises
        ------
        Transient, Terminal
            As :meth:`access_token`.
        """
        _, _, renewals = await self._ready()
        assert self._provider is not None
        if (await self._provider.verifier.metadata()).userinfo_endpoint is None:
            return None
        token = await renewals.token(owner, Want("", frozenset(scopes)), take=False)
        claims = await self._provider.userinfo(token.value)
        return None if claims is None else Told(claims, token.renew_at)

    async def lineage(self) -> bytes:
        """Return the secret by which a hub with this vault tells its own sessions, 32 bytes."""
        vault, threads, _ = await self._ready()
        return await threads.run(vault.lineage)

    async def status(self, owner: str) -> GrantStatus:
        """Return how the owner's grant is doing, without asking the provider."""
        vault, threads, renewals = await self._ready()
        await renewals.uses.settle()
        grant = await threads.read(vault.grant, owner)
        if grant is None:
            return GrantStatus(GrantState.NONE)
        return GrantStatus(
            state=grant.state,
            subject=grant.subject,
            issuer=grant.issuer,
            good_until=await threads.read(vault.good_until, owner),
            login_until=grant.refresh_expires_at,
            failing_since=grant.failing_since,
            last_error=grant.last_error or None,
        )

    async def forget(self, owner: str) -> None:
        """Give the owner's grant up: here at once, at the provider when it answers (RFC 7009)."""
        _, _, renewals = await self._ready()
        await renewals.revocations.end(owner)

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
        return self._handed_out(want, await self._service.token(want))

    # -- seen from outside -------------------------------------------------------------------

    def health(self) -> Health:
        """Say whether tokens are looked after; nothing is asked for it."""
        loop, renewals = self._loop, self._renewals
        return judge(
            Signs(
                looping=self.renew_ahead,
                beat_at=loop.beat_at if loop else None,
                late_at=renewals.uses.late_at if renewals else None,
                late_left=renewals.uses.late_left if renewals else 0.0,
                failing_since=loop.failing_since if loop else None,
            ),
            self._timing.clock(),
        )

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
            http_proxy=require_proxy(self.http_proxy, "c.Shepherd.http_proxy"),
            audience_parameter=self.audience_parameter,
            clock=self._timing.clock,
            jitter=self._timing.jitter,
        )
        self._vault = Vault(self.vault_url, cipher, clock=self._timing.clock)
        self._provider = provider
        self._service = ServiceTokens(provider, self._timing)
        self._threads = Threads(writers_for(self.vault_url))
        self._renewals = Renewals(
            self._vault,
            self._threads,
            provider,
            Spill(folder_for(self.answers_folder, self.vault_url), cipher, self.log),
            holder=self._holder,
            timing=self._timing,
            exchange=self.exchange,
            log=self.log,
        )
        self._loop = Loop(
            self._vault,
            self._threads,
            self._renewals,
            provider.breaker,
            timing=self._timing,
            parallel=self.parallel,
            renews=self.renew_ahead,
            log=self.log,
        )

    async def start(self) -> None:
        """Open the vault and begin the loop.  Twice is harmless.  Raises as :meth:`open`."""
        await self._ready()
        assert self._loop is not None
        if self._loop_task is None:
            self._loop_task = asyncio.create_task(self._loop.run(), name="roost-shepherd")

    async def stop(self) -> None:
        """End the loop, wait for renewals under way to be committed or spilled, close the vault."""
        if self._loop_task is not None:
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task
            self._loop_task = None
        if self._renewals is not None:
            await self._renewals.drain()
            await self._renewals.kept.close()
            self._renewals = None
            self._took_up = False
        if self._threads is not None and self._vault is not None:
            if await self._threads.close():
                await asyncio.to_thread(self._vault.close)
            else:
                self.log.warning("The vault's database hangs; it is left to the system")
            self._threads = self._vault = None
        if self._provider is not None:
            await self._provider.close()
            self._provider = self._service = None

    async def _ready(self) -> tuple[Vault, Threads, Renewals]:
        if not self._took_up:
            async with self._opening:
                await asyncio.to_thread(self.open)
                assert self._renewals is not None
                if not self._took_up:
                    await self._renewals.kept.take_up()
                self._took_up = True
        assert self._vault is not None
        assert self._threads is not None
        assert self._renewals is not None
        return self._vault, self._threads, self._renewals

    def _handed_out(self, want: Want, token: StoredToken) -> AccessToken:
        require_no_more(want, token, self.issuer)
        return AccessToken(
            value=token.value,
            expires_at=token.expires_at,
            audience=want.audience,
            scopes=token.scopes,
            renew_at=token.renew_at,
            issued_at=token.issued_at,
        )
