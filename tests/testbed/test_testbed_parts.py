from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from testbed import processes
from testbed.carried import apt_settings, pip_settings
from testbed.errors import TestbedError
from testbed.jobs import in_order
from testbed.layout import (
    LOOPBACK,
    MACHINE_DOMAIN,
    PLAN,
    Folders,
    Site,
    hosts_lines,
    machine_lines,
)
from testbed.rooted import inside

pytestmark = pytest.mark.unit


# -- jobs -----------------------------------------------------------------------------------------


def test_a_job_begins_when_all_that_it_waits_for_have_ended():
    ended: list[str] = []
    in_order({"c": ("a", "b"), "b": ("a",), "a": (), "d": ()}, ended.append)
    assert ended.index("a") < ended.index("b") < ended.index("c")
    assert sorted(ended) == ["a", "b", "c", "d"]


def test_a_slow_job_holds_up_only_those_that_wait_for_it():
    quick = threading.Event()

    def do(name):
        if name == "slow":
            assert quick.wait(5)
        if name == "after-quick":
            quick.set()

    in_order({"slow": (), "quick": (), "after-quick": ("quick",)}, do)


def test_nothing_is_begun_after_a_failure():
    begun: list[str] = []

    def do(name):
        begun.append(name)
        if name == "a":
            raise TestbedError("a failed")

    with pytest.raises(TestbedError, match="a failed"):
        in_order({"a": (), "b": ("a",)}, do)
    assert begun == ["a"]


def test_jobs_that_wait_for_one_another_are_named():
    with pytest.raises(TestbedError, match="a for b; b for a"):
        in_order({"a": ("b",), "b": ("a",)}, lambda name: None)


# -- paths in another root ------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "var/up").symlink_to("../../../../etc")
    (tmp_path / "circle").symlink_to("/circle")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/var/run/x", "run/x"),
        ("var/up/passwd", "etc/passwd"),
        ("/../../etc/passwd", "etc/passwd"),
        ("/not/there/yet", "not/there/yet"),
        ("/", "."),
    ],
)
def test_links_do_not_lead_out_of_the_root(tree, path, found):
    assert inside(tree, path) == tree / found


def test_a_circle_of_links_is_an_error(tree):
    with pytest.raises(OSError, match="symbolic links"):
        inside(tree, "/circle")


# -- the machine's own settings -------------------------------------------------------------------


def test_pip_is_told_the_machines_indexes_and_folders_that_exist():
    listed = (
        ":env:.find-links='/opt/wheels'\n"
        "global.find-links='/opt/elsewhere'\n"
        "global.cert='/etc/ssl/x.crt'\n"
        "global.index-url='https://pip.example.org/simple'\n"
        "global.extra-index-url='file:///opt/gone/simple https://more.example.org/simple'\n"
    )
    found = pip_settings(listed, exists=lambda path: path == Path("/opt/wheels"))
    assert found.environment == {
        "PIP_INDEX_URL": "https://pip.example.org/simple",
        "PIP_EXTRA_INDEX_URL": "https://more.example.org/simple",
        "PIP_FIND_LINKS": "/build/links/0",
    }
    assert found.folders == (Path("/opt/wheels"),)


def test_a_machine_without_pip_carries_nothing():
    assert pip_settings("") == pip_settings("nonsense\n")
    assert pip_settings("").environment == {}


def test_apt_is_told_the_machines_proxy_and_nothing_of_its_sources():
    dumped = (
        'Acquire::http::Proxy "http://proxy.example.org:3128";\n'
        'Acquire::Check-Valid-Until "false";\n'
        'Acquire::IndexTargets::deb::Packages::MetaKey "x";\n'
        'Dir::Etc "etc/apt";\n'
    )
    told = apt_settings(dumped)
    assert "proxy.example.org" in told
    assert "Check-Valid-Until" in told
    assert "IndexTargets" not in told
    assert "Dir::Etc" not in told


# -- processes ------------------------------------------------------------------------------------


def test_a_detached_process_is_found_again_and_never_mistaken(tmp_path):
    pid = processes.detach(["sleep", "60"], tmp_path / "log")
    note = tmp_path / "note"
    processes.remember(note, pid)
    assert processes.recall(note) == pid
    assert os.getsid(pid) != os.getsid(0)  # holds no terminal of ours
    note.write_text(f"{pid} 1\n")  # as if the number had been given to another since
    assert processes.recall(note) is None
    os.kill(pid, 9)
    until = time.monotonic() + 5
    while processes.start_time(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert processes.start_time(pid) is None


def test_a_dead_process_that_nobody_has_reaped_counts_as_gone():
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.start_time(child.pid) is None
    child.wait()


# -- names and secrets ----------------------------------------------------------------------------


def test_hosts_see_the_network_and_the_machine_its_loopback():
    assert "10.77.0.18 hub.roost.test hub" in hosts_lines(PLAN)
    assert f"{LOOPBACK}.18 hub.{MACHINE_DOMAIN}" in machine_lines(PLAN)


def test_a_secret_is_made_once_however_many_ask_at_the_same_time(tmp_path):
    site = Site(Folders(tmp_path / "cache", tmp_path / "state"), "trixie", {})
    made: list[str] = []

    def make():
        time.sleep(0.02)
        made.append("x")
        return f"secret-{len(made)}"

    found: set[str] = set()
    threads = [threading.Thread(target=lambda: found.add(site.secret("key", make))) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"secret-1"}
    path = tmp_path / "state/secrets/key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
