from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from jupyterhub import orm
from roost_authenticator.standing import RENEW_AT
from traitlets.config import Config

from tests.support.hub import InProcessHub, free_port, in_process_hub
from tests.support.iam import Browser, Client, Refused
from tests.support.local_iam import LocalIam, Someone, local_iam

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
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
    vault_key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)

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
        config.Shepherd.vault_keys = [self.vault_key]
        for name, value in traits.items():
            config.IAMOAuthenticator[name] = value
        return config

    def set_groups(self, person: Someone, *groups: str) -> None:
        """Change somebody's groups at the provider, which reads them when it starts."""
        file = self.iam.folder / "people.json"
        people = json.loads(file.read_text())
        next(p for p in people if p["subject"] == person.subject)["groups"] = list(groups)
        self.iam.stop()
        file.write_text(json.dumps(people))
        self.iam.start()

    def refreshes(self, person: Someone) -> int:
        """Return how many access tokens the provider has issued for refresh tokens."""
        line = rf"sub={person.subject} .* grant=[a-z_ ]*refresh_token scopes="
        return len(re.findall(line, self.iam.log))

    @contextlib.asynccontextmanager
    async def hub(self, **traits: Any) -> AsyncIterator[InProcessHub]:
        port = int(self.client.redirect_uri.split(":")[2].split("/")[0])
        async with in_process_hub(self.folder, self.config(**traits), port=port) as hub:
            yield hub


async def log_in(hub, world, person, *, browser=None, change=lambda url: url):
    """Log a person in; return their browser, or raise what the hub's page said."""
    browser = browser or Browser(world.iam.ca_file)

    def go():
        start = browser.step(hub.url + "oauth_login?next=%2Fhub%2Fhome")
        if start.location is None:
            raise Refused(start.status, start.text)
        back = browser.log_in(
            change(start.location), person.name, person.password, until=world.client.redirect_uri
        )
        end = browser.step(back)
        if end.location is None:
            raise Refused(end.status, end.text)
        return browser, end.location

    return await asyncio.to_thread(go)


def account(hub, name):
    return hub.db.query(orm.User).filter_by(name=name).first()


async def become_due(hub, name):
    """Let the next request of this user ask the provider again who they are."""
    user = hub.users[account(hub, name)]
    state = await user.get_auth_state()
    await user.save_auth_state(state | {RENEW_AT: 0.0})
    user._auth_refreshed = 0
    return user


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
def world(provider, tmp_path) -> Iterator[World]:
    made = World(provider, provider.clients[0], tmp_path)
    issuer = provider.issuer
    made.map_file.write_text(
        f"SCITOKENS {issuer},{ALICE.subject} alice@roost.test\n"
        f"SCITOKENS {issuer},{CAROL.subject} carol@roost.test\n"
        f"SCITOKENS {issuer},{ROOT.subject} root@roost.test\n"
        f"SCITOKENS {issuer},{BIG.subject} BigAccount@roost.test\n"
    )
    people = provider.folder / "people.json"
    before = people.read_text()
    yield made
    if people.read_text() != before:
        provider.stop()
        people.write_text(before)
        provider.start()


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
