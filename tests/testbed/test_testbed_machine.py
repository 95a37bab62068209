from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testbed import cli, machine, processes
from testbed.errors import Unfit
from testbed.layout import Folders
from testbed.machine import Machine, look, verdict

pytestmark = pytest.mark.unit

FIT = Machine(
    linux=True,
    root=True,
    missing=frozenset(),
    apt=True,
    overlayfs=True,
    namespaces=True,
    links=True,
    nested=(),
    free_gb=20,
    online=True,
)


def judge(*, building=True, **changes):
    return verdict(replace(FIT, **changes), building=building, folder="/var/cache/x")


def test_a_fit_machine_passes():
    assert judge() is None


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"linux": False}, "Linux"),
        ({"root": False}, "root"),
        ({"overlayfs": False}, "overlayfs"),
        ({"namespaces": False}, "network namespaces"),
        ({"links": False}, "bridges"),
        ({"nested": ("/var",)}, "/var cannot hold"),
        ({"missing": frozenset({"debootstrap"}), "apt": False}, "debootstrap not found"),
        ({"free_gb": 5.9}, "5.9 GB"),
        ({"online": False}, "network"),
    ],
)
def test_an_unfit_machine_is_refused_in_one_sentence_that_names_the_reason(changes, names):
    sentence = judge(**changes)
    assert names in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_what_only_a_build_needs_is_not_asked_for_when_nothing_is_built():
    assert judge(building=False, free_gb=1, online=False) is None


def test_build_tools_are_asked_for_only_when_something_is_built(monkeypatch, tmp_path):
    monkeypatch.setattr("testbed.machine.shutil.which", lambda tool: None)
    monkeypatch.setattr("testbed.machine._online", lambda: True)
    folders = Folders(cache=tmp_path / "cache", state=tmp_path / "state")
    assert "npm" in look(folders, building=True).missing
    assert "npm" not in look(folders, building=False).missing
    assert not list(tmp_path.iterdir())


def test_a_closed_mirror_means_no_network(monkeypatch):
    monkeypatch.setattr("testbed.machine.proxies", dict)
    monkeypatch.setenv("ROOST_TESTBED_MIRROR", "http://127.0.0.1:9/debian")
    assert not machine._online()


def test_the_command_ends_with_status_2_and_one_sentence(monkeypatch, capsys):
    def refuse(*_args, **_options):
        raise Unfit("Not here.")

    monkeypatch.setattr("testbed.cli.os.geteuid", lambda: 0)
    monkeypatch.setattr("testbed.lifecycle.machine.require", refuse)
    assert cli.main(["up"]) == 2
    assert capsys.readouterr() == ("", "Not here.\n")


def test_without_root_the_command_says_so(monkeypatch, capsys):
    monkeypatch.setattr("testbed.cli.os.geteuid", lambda: 1000)
    assert cli.main(["up"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_missing_tools_are_no_obstacle_where_apt_can_install_them():
    assert judge(missing=frozenset({"debootstrap", "ip"})) is None


def test_a_folder_from_which_something_is_mounted_is_known(tmp_path):
    assert processes.mounts_from(Path("/dev"))  # /dev/pts
    assert not processes.mounts_from(tmp_path)
