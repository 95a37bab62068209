from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from roost_hub.announcements import for_pages
from roost_spawner.site.announcements import Announcement

pytestmark = pytest.mark.unit


def site(*said):
    return SimpleNamespace(announcements=said)


def test_a_page_is_told_what_the_site_file_says_now_and_nothing_without_one():
    over = Announcement(text="over", ends="2026-01-01 08:00 UTC")
    engine = SimpleNamespace(site=site(Announcement(text="a"), over))
    assert not over.shown_at(time.time())
    ask = for_pages(SimpleNamespace(spawner=SimpleNamespace(engine=engine)))
    assert [one.text for one in ask()] == ["a"]
    engine.site = site()
    assert ask() == []
    assert for_pages(None)() == []
