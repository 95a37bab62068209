from __future__ import annotations

import pytest

from testbed import hostsfile
from testbed.hostsfile import BEGIN, END, with_block

pytestmark = pytest.mark.unit

PLAIN = "127.0.0.1 localhost\n# mine\n10.0.0.1 other\n"


def test_the_block_is_added_after_what_was_there():
    assert with_block(PLAIN, ["127.77.0.18 hub"]) == f"{PLAIN}{BEGIN}\n127.77.0.18 hub\n{END}\n"


def test_a_second_block_replaces_the_first():
    once = with_block(PLAIN, ["127.77.0.18 old"])
    assert with_block(once, ["127.77.0.18 new"]) == with_block(PLAIN, ["127.77.0.18 new"])


def test_without_lines_the_file_is_as_it_was():
    assert with_block(with_block(PLAIN, ["127.77.0.18 hub"]), []) == PLAIN


def test_lines_of_others_behind_the_block_stay():
    text = with_block(PLAIN, ["127.77.0.18 hub"]) + "10.0.0.2 later\n"
    assert with_block(text, []) == PLAIN + "10.0.0.2 later\n"


def test_a_file_without_a_last_line_end_keeps_its_last_line():
    assert with_block("127.0.0.1 localhost", ["x"]).startswith("127.0.0.1 localhost\n" + BEGIN)


def test_a_block_without_an_end_does_not_swallow_the_rest():
    text = f"{PLAIN}{BEGIN}\n127.77.0.18 hub.roost.test hub\n10.0.0.2 later\n"
    assert "10.0.0.2 later" in with_block(text, [])


def test_the_file_is_replaced_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "hosts"
    path.write_text(PLAIN)
    path.chmod(0o640)
    hostsfile.write(["127.77.0.18 hub"], path)
    assert "hub" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640
    hostsfile.write([], path)
    assert path.read_text() == PLAIN
    assert [item.name for item in tmp_path.iterdir()] == ["hosts"]
