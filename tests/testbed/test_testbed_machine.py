from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.machine import Machine, verdict

pytestmark = pytest.mark.unit

FIT = Machine(
    linux=True,
    root=True,
    missing=frozenset(),
    apt=True,
    npm=True,
    overlayfs=True,
    network_namespaces=True,
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
        ({"network_namespaces": False}, "network namespaces"),
        ({"missing": frozenset({"debootstrap"}), "apt": False}, "debootstrap"),
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
    assert judge(building=False, free_gb=1, online=False, npm=False) is None


def test_missing_tools_are_no_obstacle_where_apt_can_install_them():
    assert judge(missing=frozenset({"debootstrap", "ip"})) is None
