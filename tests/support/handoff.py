"""Ways to call the handoff interface that no agent would."""

from __future__ import annotations

import asyncio
import hashlib
import secrets

from roost_spawner.handoff import PREFIX


def new_key():
    key = secrets.token_bytes(32)
    return key.hex(), hashlib.sha256(key).hexdigest()


async def proved(hub, user="alice", server=""):
    """Return a session whose bundle has been taken, the key, and the server's token."""
    session = await hub.submitted(user, server)
    key, digest = new_key()
    hub.pool.start(session.record.job_id, digest)
    code, bundle = await hub.handoff(session, "bundle", {"key": key})
    assert code == 200, bundle
    return session, key, bundle["env"]["JUPYTERHUB_API_TOKEN"]


def head(session_id, *headers, what="bundle", host="x"):
    lines = [
        f"POST /hub/api/{PREFIX}sessions/{session_id}/{what} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def talk(where, request, body=b"", most=0, *, tls=None, limit=10):
    """Send as much of a body as is taken; return the answer, and how much that was."""
    reader, writer = await asyncio.open_connection(*where, ssl=tls)
    sent = 0
    # Not to the end: a proxy in between may keep the connection.
    answer = asyncio.ensure_future(reader.read(65536))
    try:
        writer.write(request)
        while sent < most and not answer.done():
            writer.write(body)
            sent += len(body)
            await writer.drain()
    except OSError:
        pass
    try:
        return await asyncio.wait_for(answer, limit), sent
    except ConnectionError:
        return b"", sent
    finally:
        writer.close()
