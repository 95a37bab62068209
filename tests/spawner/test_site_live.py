"""A site file that changes while the hub runs."""

from __future__ import annotations

import logging
import os
from itertools import count

import pytest
from roost_spawner.errors import SiteError
from roost_spawner.site.changes import changes, unsafe
from roost_spawner.site.live import KEPT, SiteFile
from roost_spawner.site.loader import parse_site

from tests.spawner.test_site_file import GOOD

pytestmark = pytest.mark.unit


@pytest.fixture
def path(tmp_path):
    return tmp_path / "site.yaml"


@pytest.fixture
def write(path):
    """Return a function that writes the file, each time with another date."""
    dates = count(1)

    def change(text):
        path.write_text(text)
        os.utime(path, (date := next(dates), date))

    change(GOOD)
    return change


@pytest.fixture
def file(path, write):
    return SiteFile(path, logging.getLogger("test-site"), check_every=0)


@pytest.fixture
def site(path):
    return lambda text=GOOD: parse_site(text, path)


def memory(file):
    return file.site.profiles["interactive"].memory.default


def looked_at(file, times=2):
    for _ in range(times):
        file.site  # noqa: B018 - looks
    return file


def test_a_change_is_in_force_at_the_next_look(file, write):
    assert memory(file) == 2048
    write(GOOD.replace("2 GiB", "3 GiB"))
    assert memory(file) == 3072
    assert file.history[0].said == ("Profile interactive changed: memory.",)


def test_a_broken_one_keeps_the_last_good_and_is_said_once(file, write, caplog):
    write(GOOD.replace("2 GiB", "lots"))
    assert memory(looked_at(file, 5)) == 2048
    assert "line 22" in file.error.sentence
    assert caplog.text.count("line 22") == 1
    assert [reload.refused for reload in file.history] == [True]
    write(GOOD)
    assert memory(file) == 2048
    assert file.error is None


def test_a_file_that_an_editor_is_half_way_through_writing_is_no_mistake(file, write):
    write(GOOD[:200])
    assert memory(file) == 2048
    write(GOOD.replace("2 GiB", "3 GiB"))
    assert memory(file) == 3072
    assert not any(reload.refused for reload in file.history)


def test_a_file_that_is_gone_changes_nothing(file, path, write):
    path.unlink()
    assert memory(looked_at(file)) == 2048
    assert "cannot be read" in file.error.sentence
    write(GOOD.replace("2 GiB", "3 GiB"))
    assert memory(file) == 3072


def test_a_hub_does_not_start_on_a_broken_file(path, write):
    write("hub_id: x")
    with pytest.raises(SiteError):
        SiteFile(path, logging.getLogger("test-site"))


def test_a_change_that_is_not_safe_waits_until_it_is(path, write):
    reasons = ["clusters.naf: schedd cannot change now."]
    log = logging.getLogger("test-site")
    file = SiteFile(path, log, check_every=0, unsafe=lambda _old, _new: reasons)
    write(GOOD.replace("2 GiB", "3 GiB"))
    assert memory(looked_at(file)) == 2048
    assert "schedd cannot change now" in file.error.sentence
    reasons.clear()
    assert memory(file) == 3072
    assert file.error is None


def test_a_better_file_takes_the_place_of_one_that_waits(path, write):
    reasons = ["Not now."]
    log = logging.getLogger("test-site")
    file = SiteFile(path, log, check_every=0, unsafe=lambda _old, _new: reasons)
    write(GOOD.replace("2 GiB", "3 GiB"))
    looked_at(file)
    write(GOOD.replace("2 GiB", "lots"))
    looked_at(file)
    reasons.clear()
    assert memory(looked_at(file)) == 2048


def test_only_so_many_reloads_are_remembered_the_newest_first(file, write):
    for number in range(KEPT + 5):
        write(GOOD.replace("2 GiB", f"{number + 3} GiB"))
        looked_at(file)
    assert len(file.history) == KEPT
    assert file.history[0].at >= file.history[-1].at


def test_what_changed_is_said_in_words(site):
    new = GOOD.replace("ports: 40000-49999\n", "").replace("  gpu:\n", "  gpus:\n")
    new = new.replace("schedd: notebooks", "schedd: other")
    assert changes(site(), site(new)) == (
        "Cluster naf changed: schedd.",
        "Profile gpus is new.",
        "Profile gpu was removed.",
        "Changed for the whole site: ports.",
    )


def test_a_file_that_says_the_same_in_other_words_changes_nothing(site):
    assert changes(site(), site(GOOD.replace("2 GiB", "2048 MiB"))) == ()


def test_the_hubs_own_id_cannot_change_under_its_jobs(site):
    (said,) = unsafe(site(), site(GOOD.replace("desy-naf", "other")), {})
    assert "'other' is not 'desy-naf'" in said


def test_a_cluster_with_sessions_does_not_become_another_batch_system(site):
    new = site(GOOD.replace("schedd: notebooks", "schedd: other"))
    (said,) = unsafe(site(), new, {"naf": 3})
    assert "clusters.naf: schedd cannot change while it has 3 sessions" in said
    assert unsafe(site(), new, {"maxwell": 3}) == ()


def test_what_does_not_move_a_cluster_is_safe_at_any_time(site):
    new = GOOD.replace("naf-read.token", "other.token").replace("2 GiB", "3 GiB")
    assert unsafe(site(), site(new), {"naf": 3, "maxwell": 1}) == ()
