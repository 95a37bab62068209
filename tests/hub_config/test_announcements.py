from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from roost_hub.announcements import current, for_pages
from roost_spawner.site.announcements import Announcement

pytestmark = pytest.mark.unit

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def site(*said):
    return SimpleNamespace(announcements=said)


def texts(*said):
    return [one.text for one in current(site(*said), NOW)]


def test_an_announcement_is_on_from_its_start_until_its_end():
    hour = timedelta(hours=1)
    assert texts(
        Announcement(text="always"),
        Announcement(text="begun", starts=NOW),
        Announcement(text="not yet", starts=NOW + hour),
        Announcement(text="not over", ends=NOW + hour),
        Announcement(text="over", ends=NOW),
        Announcement(text="between", starts=NOW - hour, ends=NOW + hour),
    ) == ["always", "begun", "not over", "between"]


def test_times_are_moments_whatever_zone_they_are_written_in():
    assert texts(
        Announcement(text="begun", starts="2026-11-28 12:59 +01:00"),
        Announcement(text="not yet", starts="2026-11-28 12:59 UTC"),
    ) == ["begun"]


def test_a_page_is_told_what_the_site_file_says_now_and_nothing_without_one():
    engine = SimpleNamespace(site=site(Announcement(text="a")))
    ask = for_pages(SimpleNamespace(spawner=SimpleNamespace(engine=engine)))
    assert [one.text for one in ask()] == ["a"]
    engine.site = site()
    assert ask() == []
    assert for_pages(None)() == []
