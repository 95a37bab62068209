"""Ask the identity provider for what the hub and a user need; no token is ever shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from roost_shepherd.errors import ShepherdError
from roost_shepherd.vault.models import GrantState
from roost_spawner.errors import RoostError
from roost_spawner.site.models import SlurmCluster
from sqlalchemy.engine import make_url

from roost_hub.live.verdicts import Finding, Verdict, of_discovery, of_grant

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from roost_authenticator.authenticator import IAMOAuthenticator
    from roost_shepherd.keys import TokenVerifier
    from roost_shepherd.shepherd import Shepherd
    from roost_spawner.clusters.base import Cluster
    from roost_spawner.site.models import Site

    from roost_hub.live.verdicts import Ask

_WATCHER_SCOPES = ("compute.read",)


async def of_the_hub(
    authenticator: IAMOAuthenticator, shepherd: Shepherd, site: Site
) -> list[Finding]:
    """Check discovery, scopes, and the hub's own tokens for the brokers."""
    about = "identity"
    try:
        document = (await authenticator.verifier.metadata()).raw
    except ShepherdError as error:
        hint = "Is c.IAMOAuthenticator.issuer right, and may this host reach it?"
        return [Finding(about, Verdict.BAD, error.sentence, hint)]
    brokers = {
        name: cluster.audience
        for name, cluster in site.clusters.items()
        if isinstance(cluster, SlurmCluster)
    }
    scopes = {*authenticator.scope, *site.scopes()}
    found = [
        Finding(about, Verdict.GOOD, f"{authenticator.issuer} answers."),
        *of_discovery(document, scopes, needs_client=bool(brokers)),
    ]
    for name, audience in brokers.items():
        label = f"identity, the hub's own for {name}"
        try:
            token = await shepherd.service_token(audience=audience, scopes=_WATCHER_SCOPES)
            await authenticator.verifier.verify(token.value, audience=audience)
        except ShepherdError as error:
            hint = (
                f"The hub's client needs the grant type client_credentials, the scope compute.read "
                f"and the audience {audience} at the IAM."
            )
            found.append(Finding(label, Verdict.BAD, _told(error), hint))
        else:
            found.append(of_grant(label, _WATCHER_SCOPES, token.scopes))
    return found


async def of_a_user(
    authenticator: IAMOAuthenticator,
    user: str,
    site: Site,
    clusters: Mapping[str, Cluster],
    asks: Collection[Ask],
) -> list[Finding]:
    """Take a user's tokens for each cluster and each of `tokens`, and show them to the clusters.

    Parameters
    ----------
    authenticator
        Its shepherd has the vault.
    user
        Their name at the hub.
    site
        The site file.
    clusters
        Those that could be asked.
    asks
        What profiles ask for, as they are.
    """
    about = f"user {user}"
    if problem := _foreign_vault(authenticator.shepherd.vault_url):
        hint = "Call this as the account that the hub runs as, with the vault's keys."
        return [Finding(about, Verdict.BAD, problem, hint)]
    if (await authenticator.shepherd.status(user)).state is GrantState.NONE:
        hint = "Give a name as the hub has it; the user has to log in there once."
        return [Finding(about, Verdict.BAD, f"The vault holds nothing of {user}.", hint)]
    found = []
    for name, cluster in clusters.items():
        first = next((ask for ask in asks if site.profiles[ask.profile].cluster == name), None)
        found.append(await _at_cluster(authenticator, user, cluster, first))
    wishes = dict(site.tokens)
    for name, profile in site.profiles.items():
        wishes |= {f"{name}.{key}": wish for key, wish in (profile.tokens or {}).items()}
    for name, wish in wishes.items():
        label = f"{about}, token {name}"
        try:
            granted = await _token(
                authenticator.shepherd,
                authenticator.verifier,
                user,
                wish.audience,
                wish.scope.split(),
            )
        except ShepherdError as error:
            found.append(Finding(label, Verdict.BAD, _told(error), _AGAIN))
        else:
            found.append(of_grant(label, wish.scope.split(), granted[1]))
    return found


_AGAIN = (
    "A grant is good for what was asked for at its login: after a change, the user logs in anew."
)


async def _at_cluster(
    authenticator: IAMOAuthenticator, user: str, cluster: Cluster, ask: Ask | None
) -> Finding:
    label = f"user {user}, cluster {cluster.name}"
    scopes = cluster.submit_scopes
    try:
        token, granted = await _token(
            authenticator.shepherd, authenticator.verifier, user, cluster.audience, scopes
        )
        lacking = of_grant(label, scopes, granted)
        if ask is None or lacking.verdict is Verdict.BAD:
            return lacking
        await cluster.judge(ask.wanted, ask.extras, token=token)
    except ShepherdError as error:
        return Finding(label, Verdict.BAD, _told(error), _AGAIN)
    except RoostError as error:
        hint = (
            f"Is {cluster.audience} the audience that it wants, does it trust the issuer, and does "
            "its map of accounts know the user?"
        )
        return Finding(label, Verdict.BAD, _told(error), hint)
    return Finding(label, Verdict.GOOD, "It takes the user's own token.")


async def _token(
    shepherd: Shepherd,
    verifier: TokenVerifier,
    user: str,
    audience: str,
    scopes: Collection[str],
) -> tuple[str, Collection[str]]:
    token = await shepherd.access_token(user, audience=audience, scopes=scopes, min_valid=30)
    await verifier.verify(token.value, audience=audience)
    return token.value, token.scopes


def _told(error: ShepherdError | RoostError) -> str:
    return f"{error.sentence} ({error.detail})" if error.detail else error.sentence


def _foreign_vault(url: str) -> str:
    """Say why the vault is not to be opened by this process; empty if it may be.

    SQLite leaves files beside it, which the hub could not write if they were another account's.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return ""
    try:
        owner = Path(parsed.database).stat().st_uid
    except OSError as error:
        return f"The vault {parsed.database} cannot be opened: {error.strerror}."
    if owner != os.geteuid():
        return f"The vault {parsed.database} belongs to another account than this one."
    return ""
