"""What a session's job receives once it has proved itself: everything that its server needs."""

from __future__ import annotations

import time
from inspect import isawaitable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jupyterhub.utils import url_path_join

from roost_spawner import compat, route, tls
from roost_spawner.delivery import tell
from roost_spawner.errors import ClusterUnreachable
from roost_spawner.proof import digest
from roost_spawner.server_lines import MODULES, server_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from roost_spawner.sessions import Session
    from roost_spawner.spawner import RoostSpawner


async def make_bundle(spawner: RoostSpawner, session: Session) -> dict[str, Any]:
    """Return the bundle of a session, as JSON takes it.

    Returns
    -------
    dict
        ``argv`` and ``env`` of the server, ``ports`` (first and last, or None for any), ``cwd``
        (None for the user's home), ``tokens`` by name (None if they cannot be had yet) with how
        they stand in ``token_states`` and when to ask again in ``again_in``, ``files`` by path
        below the agent's own directory, the site's ``prologue``, the ``image`` that the server runs
        in (None for none) and whether it has ``gpus``, ``ends_in``, the seconds of walltime that
        are left (None if nobody knows), whether the server ``takes_sockets`` from the agent, and
        the folder of ``programs`` that go first on its path (empty for none).

    Raises
    ------
    ClusterUnreachable
        If the node is not known yet, and a certificate must name it.
    """
    if not spawner.api_token:
        _new_server_token(spawner, session)
    record = session.record
    # The session can do without what cannot be had; its agent asks again.
    handout = await spawner.tokens(session)
    tell(session, handout)
    ports = spawner.engine.site.ports
    files = {str(path): str(text) for path, text in spawner.session_files.items()}
    env = {name: str(value) for name, value in spawner.get_env().items()}
    _add(env, spawner.session_environment)
    _add(env, record.environment)
    argv, takes_sockets = _server(spawner, record.python, env)
    if spawner.internal_ssl:
        files |= await _certificates(spawner, session)
        env |= tls.ENVIRONMENT
    session.update(tls=bool(spawner.internal_ssl))
    bundle = {
        "argv": [*argv, *spawner.get_args()],
        "env": env,
        "ports": list(ports) if ports else None,
        "cwd": record.workdir,
        **handout.content,
        "tokens": None if handout.none else handout.tokens,
        "files": files,
        "prologue": record.prologue,
        "image": record.image,
        "gpus": bool(record.gpus),
        "ends_in": ends_in(record.ends_at),
        "takes_sockets": takes_sockets,
        "programs": _folder(record.python),
    }
    return bundle if session.agent_version >= 2 else compat.for_first_agent(bundle)


def _server(spawner: RoostSpawner, python: str, env: Mapping[str, str]) -> tuple[list[str], bool]:
    """Return the server's command, and whether it takes the agent's sockets."""
    own = list(spawner.cmd)
    module = MODULES.get(own[0]) if own else None
    if module is None:
        return own, False  # the site's own command, which binds its port by itself
    takes = env.get("JUPYTERHUB_SINGLEUSER_APP") != "jupyverse"  # which does without tornado
    return [*server_command(python, spawner.server_skips, module), *own[1:]], takes


def _folder(python: str) -> str:
    """Return where the programs are that belong to the profile's Python."""
    return python.rpartition("/")[0]


def ends_in(ends_at: float) -> int | None:
    """Return the seconds of walltime that are left; relative, since clocks differ."""
    return max(int(ends_at - time.time()), 1) if ends_at else None


def _add(env: dict[str, str], more: Mapping[str, Any]) -> None:
    """Put variables over others; where a search path is given twice, the later goes first."""
    for name, value in more.items():
        old = env.get(name) if name.endswith("_PATH") else None
        env[name] = f"{value}:{old}" if old else str(value)


async def _certificates(spawner: RoostSpawner, session: Session) -> dict[str, str]:
    """Return what the session's server needs to speak TLS as this node, and no other."""
    await route.locate(spawner, session)
    if not session.record.placed:
        raise ClusterUnreachable("The job's node is not known yet.")
    names = spawner.ssl_alt_names
    if callable(names):
        names = names(spawner)
        if isawaitable(names):
            names = await names
    public = urlsplit(spawner.engine.site.hub_url).hostname
    return tls.session_files(
        tls.authority(spawner.internal_certs_location),
        tls.trust(spawner.internal_trust_bundles),
        mark=session.record.mark,
        names=[session.record.node, *([public] if public else []), *names],
    )


def _new_server_token(spawner: RoostSpawner, session: Session) -> None:
    # The hub was restarted while the job waited, and it keeps hashes of its tokens only.
    note = f"Server at {spawner.server.base_url if spawner.server else spawner.proxy_spec}"
    place = "/".join(session.place)
    scopes = [
        f"{scope}={place}" if scope.endswith("!server") else scope
        for scope in spawner.server_token_scopes
    ]
    spawner.api_token = spawner.user.new_api_token(note=note, scopes=scopes)
    provider = spawner.user.settings.get("oauth_provider")
    if provider is not None:
        provider.add_client(
            spawner.oauth_client_id,
            spawner.api_token,
            url_path_join(spawner.user.url, spawner.name, "oauth_callback"),
            allowed_scopes=[f"access:servers!server={place}"],
            description=f"Server at {note}",
        )
    session.update(token_hash=digest(spawner.api_token))
