"""Put the questions together: every cluster and the identity provider at the same time."""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roost_authenticator.authenticator import IAMOAuthenticator
from roost_shepherd.errors import ShepherdError
from roost_shepherd.shepherd import Shepherd
from roost_spawner.engine import Engine
from roost_spawner.errors import RoostError
from roost_spawner.options import REQ_TRAITS
from roost_spawner.site.models import SlurmCluster
from traitlets import TraitError
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from roost_hub.live import identity
from roost_hub.live.clusters import Seen, look_at
from roost_hub.live.hub import of_internal_tls, of_the_pages
from roost_hub.live.verdicts import Finding, Verdict, asks, of_profile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from roost_spawner.site.models import Site

    from roost_hub.live.verdicts import Ask

CONFIG = Path("/etc/roost/jupyterhub_config.py")
WITHIN = 60.0
"""Seconds that all questions together may take."""
_ONE = 25.0
"""Seconds for one cluster: more than a call of either family takes to give up."""


class Unusable(Exception):
    """The hub's own settings cannot be used; the message says why."""


def findings(
    site_file: Path, site: Site, *, config: Path | None, user: str | None
) -> list[Finding]:
    """Ask, and return what was found.

    Parameters
    ----------
    site_file, site
        The site file, which is valid.
    config
        ``jupyterhub_config.py``; :data:`CONFIG` if that is there, and without it only what needs no
        client at the identity provider is checked.
    user
        Whose tokens are tried as well.

    Raises
    ------
    Unusable
        If the configuration cannot be used.
    """
    path = config or (CONFIG if CONFIG.exists() else None)
    if path is None and user is not None:
        raise Unusable("--user needs --config: tokens are in the hub's vault.")
    if path is None:
        return asyncio.run(_all(site_file, site, Config(), None, user))
    settings = load(path)
    try:
        authenticator = IAMOAuthenticator(config=settings)
    except (TraitError, RoostError, ShepherdError) as error:
        raise Unusable(f"{path}: {error}") from None
    of_the_hub = [*of_the_pages(settings), of_internal_tls(settings)]
    return of_the_hub + asyncio.run(_all(site_file, site, settings, authenticator, user))


def load(path: Path) -> Config:
    """Read ``jupyterhub_config.py`` as JupyterHub does.

    Raises
    ------
    Unusable
        If it cannot be read.  Of other errors than the usual, only the kind is told: the file may
        hold secrets.
    """
    try:
        path.open(encoding="utf-8").close()
        found: Config = PyFileConfigLoader(path.name, str(path.parent.absolute())).load_config()
    except RoostError as error:
        raise Unusable(f"{path}: {error.sentence}") from None
    except KeyError as error:
        raise Unusable(f"{path} needs {error}, perhaps from the hub's environment.") from None
    except OSError as error:
        raise Unusable(f"{error.filename or path} cannot be read: {error.strerror}.") from None
    except Exception as error:  # whatever Python the file holds
        raise Unusable(f"{path} does not load: {type(error).__name__}.") from None
    return found


async def _all(
    site_file: Path,
    site: Site,
    settings: Config,
    authenticator: IAMOAuthenticator | None,
    user: str | None,
) -> list[Finding]:
    tried: dict[str, list[Ask]] = {}
    wrong: list[Finding] = []
    for name in site.profiles:
        try:
            tried[name] = list(asks(site, name, _defaults(settings)))
        except RoostError as error:
            said = f"{error.sentence} ({error.detail})"
            wrong.append(Finding(f"profile {name}", Verdict.BAD, said))
    with tempfile.TemporaryDirectory(prefix="roost-check-") as folder:
        shepherd = _of_its_own(authenticator, folder)
        engine = Engine(site_file, shepherd, _quiet())
        try:
            return wrong + await _ask(engine, site, tried, authenticator, user)
        finally:
            await engine.close()
            await shepherd.stop()
            if authenticator is not None:
                await authenticator.close()


async def _ask(
    engine: Engine,
    site: Site,
    tried: Mapping[str, list[Ask]],
    authenticator: IAMOAuthenticator | None,
    user: str | None,
) -> list[Finding]:
    able = {
        name: engine.cluster(name)
        for name, model in site.clusters.items()
        if authenticator is not None or not isinstance(model, SlurmCluster)
    }

    async def cluster(name: str) -> Seen:
        if name not in able:
            said = "The hub's client at the identity provider is not known."
            hint = "Name the hub's jupyterhub_config.py with --config."
            return Seen([Finding(f"cluster {name}", Verdict.UNKNOWN, said, hint)])
        mine = [
            ask for p, found in tried.items() if site.profiles[p].cluster == name for ask in found
        ]
        return await look_at(able[name], site.clusters[name], mine, _ONE)

    async def person() -> list[Finding]:
        if authenticator is None:
            return []
        found = await identity.of_the_hub(authenticator, engine.shepherd, site)
        if user is None:
            said = (
                "Whether users' tokens are taken, and hold what is wanted, shows with --user NAME."
            )
            return [*found, Finding("identity", Verdict.UNKNOWN, said)]
        first = [found[0] for found in tried.values()]
        return [*found, *await identity.of_a_user(authenticator, user, site, able, first)]

    who = asyncio.create_task(_in_time(person()))
    names = list(site.clusters)
    seen = dict(zip(names, await asyncio.gather(*map(cluster, names)), strict=True))
    rows = await who
    for its in seen.values():
        rows += its.findings
    for name, wishes in tried.items():
        its = seen[site.profiles[name].cluster]
        rows += of_profile(name, wishes, its.capacity, its.judgements)
    return rows


async def _in_time(asking: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        async with asyncio.timeout(WITHIN):
            return await asking
    except TimeoutError:
        said = f"The identity provider did not answer all questions within {WITHIN:.0f} s."
        return [Finding("identity", Verdict.BAD, said)]


def _of_its_own(authenticator: IAMOAuthenticator | None, folder: str) -> Shepherd:
    """Return a shepherd for the hub's own tokens, which leaves the hub's vault alone."""
    if authenticator is None:
        return Shepherd()  # of whom nothing is asked
    return Shepherd(
        config=authenticator.config,
        issuer=authenticator.issuer,
        client_id=authenticator.client_id,
        client_secret=authenticator.client_secret,
        verifier=authenticator.verifier,
        ca_certs=authenticator.ca_file or None,
        http_proxy=authenticator.http_proxy,
        vault_url=f"sqlite:///{folder}/vault.sqlite",
        vault_keys=[secrets.token_hex(32)],
    )


def _defaults(settings: Config) -> dict[str, str]:
    """Return the spawner's ``req_*`` settings by field."""
    found: dict[str, Any] = {}
    for section in ("BatchSpawnerBase", "RoostSpawner"):
        found |= dict(settings.get(section, {}))
    return {field: str(found[trait]) for field, trait in REQ_TRAITS.items() if trait in found}


def _quiet() -> logging.Logger:
    """Return a log that says nothing: all that there is to say stands in the table."""
    log = logging.getLogger("roost.check")
    log.disabled = True
    return log
