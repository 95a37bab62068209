from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from traitlets.config import Config

from tests.support.hub import InProcessHub, free_port, in_process_hub
from tests.support.iam import Client
from tests.support.local_iam import LocalIam, Someone, local_iam

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

AP = "https://ap.roost.test:9618"
BROKER = "https://ctl.roost.test:8443"

ALICE = Someone("alice", "3a7a1c7e-0001", "alice-pw", ("/roost", "/roost/users"))
CAROL = Someone("carol", "c4901f3b-0003", "carol-pw", ("/roost", "/roost/admins"))
STRANGER = Someone("stranger", "5728a9e1-0004", "stranger-pw")
ROOT = Someone("rooty", "00000000-0005", "rooty-pw")
BIG = Someone("big", "b16b16b1-0006", "big-pw")


@dataclass(frozen=True)
class World:
    """A provider, and a hub that trusts it."""

    iam: LocalIam
    client: Client
    folder: Path

    @property
    def map_file(self) -> Path:
        return self.folder / "mapfile"

    def config(self, **traits: Any) -> Config:
        config = Config()
        config.JupyterHub.authenticator_class = "iam"
        config.JupyterHub.db_url = f"sqlite:///{self.folder}/jupyterhub.sqlite"
        config.Authenticator.enable_auth_state = True
        config.IAMOAuthenticator.issuer = self.iam.issuer
        config.IAMOAuthenticator.client_id = self.client.client_id
        config.IAMOAuthenticator.client_secret = self.client.client_secret
        config.IAMOAuthenticator.oauth_callback_url = self.client.redirect_uri
        config.IAMOAuthenticator.map_file = str(self.map_file)
        config.IAMOAuthenticator.audiences = [AP, BROKER]
        config.IAMOAuthenticator.ca_file = str(self.iam.ca_file)
        config.IAMOAuthenticator.admin_groups = {"/roost/admins"}
        config.IAMOAuthenticator.contact = "helpdesk@roost.test"
        config.Shepherd.vault_url = f"sqlite:///{self.folder}/vault.sqlite"
        config.Shepherd.vault_keys = [secrets.token_hex(32)]
        for name, value in traits.items():
            config.IAMOAuthenticator[name] = value
        return config

    @contextlib.asynccontextmanager
    async def hub(self, **traits: Any) -> AsyncIterator[InProcessHub]:
        port = int(self.client.redirect_uri.split(":")[2].split("/")[0])
        async with in_process_hub(self.folder, self.config(**traits), port=port) as hub:
            try:
                yield hub
            finally:
                await hub.authenticator.shepherd.stop()


@pytest.fixture(scope="session")
def provider(tmp_path_factory):
    client = Client(
        "roost-hub",
        secrets.token_urlsafe(24),
        redirect_uri=f"http://127.0.0.1:{free_port()}/hub/oauth_callback",
    )
    folder = tmp_path_factory.mktemp("iam")
    people = [ALICE, CAROL, STRANGER, ROOT, BIG]
    with local_iam(folder, people=people, clients=[client]) as iam:
        yield iam


@pytest.fixture
def world(provider, tmp_path) -> World:
    made = World(provider, provider.clients[0], tmp_path)
    issuer = provider.issuer
    made.map_file.write_text(
        f"SCITOKENS {issuer},{ALICE.subject} alice@roost.test\n"
        f"SCITOKENS {issuer},{CAROL.subject} carol@roost.test\n"
        f"SCITOKENS {issuer},{ROOT.subject} root@roost.test\n"
        f"SCITOKENS {issuer},{BIG.subject} BigAccount@roost.test\n"
    )
    return made


@pytest.fixture
def provider_away(provider) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """The provider is gone inside of this."""

    @contextlib.contextmanager
    def away():
        provider.stop()
        try:
            yield
        finally:
            provider.start()

    return away
