from __future__ import annotations

import asyncio
import logging

import pytest
from roost_shepherd import uses
from roost_shepherd.threads import Threads
from roost_shepherd.timing import Timing
from roost_shepherd.uses import Uses
from roost_shepherd.vault.records import StoredToken, Want

pytestmark = pytest.mark.unit

WANT = Want("https://ap.example.org:9618", frozenset({"compute.read"}))


class Vault:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[set[str]] = []

    def mark_taken(self, taken) -> None:
        self.told.append({owner for owner, _, _ in taken})


@pytest.fixture
def vault():
    return Vault()


@pytest.fixture
async def noted(vault):
    threads = Threads()
    yield Uses(vault, threads, Timing(), logging.getLogger(__name__))
    await threads.close()


def token(*, taken=False):
    return StoredToken("x", WANT.scopes, 0.0, 40.0, 60.0, taken=taken)


async def test_many_uses_in_a_moment_are_one_transaction(noted, vault, monkeypatch):
    monkeypatch.setattr(uses, "_GATHER", 60.0)
    for owner in ("alice", "bob", "carol"):
        noted.note(owner, WANT, token())
        await asyncio.sleep(0.01)
    assert vault.told == []
    noted._at_once.set()  # the moment has passed
    await asyncio.wait([noted._marking])
    assert vault.told == [{"alice", "bob", "carol"}]


async def test_who_must_know_does_not_wait_for_the_moment_to_end(noted, vault, monkeypatch):
    monkeypatch.setattr(uses, "_GATHER", 60.0)
    for owner in ("alice", "bob"):
        noted.note(owner, WANT, token())
        await asyncio.wait_for(noted.settle(), 5)
    assert vault.told == [{"alice"}, {"bob"}]


async def test_a_use_that_is_known_is_not_noted_again(noted, vault):
    noted.note("alice", WANT, token(taken=True))
    await noted.settle()
    assert vault.told == []
