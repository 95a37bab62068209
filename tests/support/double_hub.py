"""A real hub whose people log in at our own double of INDIGO IAM."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from traitlets.config import Config

from tests.support.hub import free_port, in_process_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.hub import InProcessHub
    from tests.support.iam_double import IamDouble


@contextlib.asynccontextmanager
async def double_hub(
    folder: Path,
    double: IamDouble,
    *,
    vault_key: str,
    config: Config | None = None,
    **traits: Any,
) -> AsyncIterator[InProcessHub]:
    """Run a hub that trusts the double.

    Parameters
    ----------
    folder
        For its databases.
    double
        The provider, started.
    vault_key
        Of the vault in the folder.
    config
        What else ``jupyterhub_config.py`` would set.
    **traits
        Of the authenticator, over those that it has here.
    """
    port = free_port()
    made = Config()
    made.JupyterHub.authenticator_class = "iam"
    made.Authenticator.enable_auth_state = True
    own = {
        "issuer": double.issuer,
        "client_id": double.client_id,
        "client_secret": double.client_secret,
        "oauth_callback_url": f"http://127.0.0.1:{port}/hub/oauth_callback",
        "contact": "helpdesk@roost.test",
        **({} if "account_hook" in traits else {"account_claim": "preferred_username"}),
    }
    for name, value in (own | traits).items():
        made.IAMOAuthenticator[name] = value
    made.Shepherd.vault_url = f"sqlite:///{folder}/vault.sqlite"
    made.Shepherd.vault_keys = [vault_key]
    made.merge(config or Config())
    async with in_process_hub(folder, made, port=port) as hub:
        yield hub
