"""A hub that is told to end: what it had begun is in the vault."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from types import SimpleNamespace

import pytest
from roost_hub import startup
from roost_shepherd.provider import TokenAnswer
from roost_shepherd.shepherd import Shepherd
from roost_shepherd.vault.crypto import Cipher
from roost_shepherd.vault.store import Vault

from tests.support.provider_double import ProviderDouble

pytestmark = pytest.mark.unit

SCOPES = frozenset({"compute.read"})


@pytest.fixture
def app():
    done: list[str] = []

    async def cleanup():
        done.append("cleaned up")

    return SimpleNamespace(cleanup=cleanup, done=done, log=logging.getLogger(__name__))


async def test_a_renewal_that_was_begun_is_committed_before_the_hub_cancels_it(app, tmp_path):
    double, key = ProviderDouble(), secrets.token_hex(32)
    await double.start()
    url = f"sqlite:///{tmp_path}/vault.sqlite"
    shepherd = Shepherd(
        issuer=double.issuer,
        client_id=double.client_id,
        client_secret=double.client_secret,
        vault_url=url,
        vault_keys=[key],
    )

    async def stops_a_server():
        double.delay = 0.0
        await shepherd.access_token("alice", audience="b", scopes=SCOPES)
        app.done.append("cleaned up")

    app.cleanup = stops_a_server
    startup._stop_at_exit(app, shepherd.stop)
    grant = double.login()
    answer = TokenAnswer("x", 0.0, SCOPES, refresh_token=grant.refresh_token)
    await shepherd.store_grant("alice", issuer=double.issuer, subject="1", answer=answer)
    double.delay = 0.3
    asking = asyncio.create_task(shepherd.access_token("alice", audience="a", scopes=SCOPES))
    while not double._now_in:  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    # What JupyterHub does when it is told to end.
    await app.cleanup()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking

    assert app.done == ["cleaned up"]
    assert grant.alive
    vault = Vault(url, Cipher([key]))
    kept = vault.grant("alice")
    assert kept.refresh_token == grant.refresh_token
    assert kept.refresh_token != answer.refresh_token
    vault.close()
    await double.stop()


async def test_what_was_begun_is_committed_before_a_clean_up_that_may_be_cut_off(app):
    async def stop():
        app.done.append("stopped")

    startup._stop_at_exit(app, stop)
    await app.cleanup()
    assert app.done == ["stopped", "cleaned up", "stopped"]


async def test_what_does_not_end_keeps_the_hub_for_a_moment_only(app, monkeypatch, caplog):
    async def hangs():
        await asyncio.Event().wait()

    monkeypatch.setattr(startup, "_LAST_ANSWERS", 0.05)
    startup._stop_at_exit(app, hangs)
    await asyncio.wait_for(app.cleanup(), 5)
    assert "could not be stopped" in caplog.text


async def test_a_clean_up_that_fails_still_stops_the_shepherd(app):
    stopped = asyncio.Event()

    async def fails():
        raise OSError("the proxy is gone")

    async def stop():
        stopped.set()

    app.cleanup = fails
    startup._stop_at_exit(app, stop)
    with pytest.raises(OSError, match="the proxy"):
        await app.cleanup()
    assert stopped.is_set()
