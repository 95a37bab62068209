"""What a session's job receives once it has proved itself: everything that its server needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyterhub.utils import url_path_join
from roost_shepherd.errors import ShepherdError

from roost_spawner.proof import digest

if TYPE_CHECKING:
    from roost_spawner.sessions import Session
    from roost_spawner.spawner import RoostSpawner


async def make_bundle(spawner: RoostSpawner, session: Session) -> dict[str, Any]:
    """Return the bundle of a session, as JSON takes it.

    Returns
    -------
    dict
        ``argv`` and ``env`` of the server, ``ports`` (first and last, or None for any), ``cwd``
        (None for the user's home) and ``tokens`` by name.
    """
    if not spawner.api_token:
        _new_server_token(spawner, session)
    record = session.record
    try:
        tokens = await spawner.tokens(session)
    except ShepherdError as error:
        # The session can do without; its agent asks again.
        spawner.log.warning("No access tokens for session %s yet: %s", record.mark, error)
        tokens = {}
    program = [record.python, "-m", "jupyterhub.singleuser"]
    own = list(spawner.cmd)
    argv = program if own == ["jupyterhub-singleuser"] else own
    ports = spawner.engine.site.ports
    return {
        "argv": [*argv, *spawner.get_args()],
        "env": {name: str(value) for name, value in spawner.get_env().items()},
        "ports": list(ports) if ports else None,
        "cwd": record.workdir,
        "tokens": tokens,
    }


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
