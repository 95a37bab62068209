"""The commands that block users."""

from __future__ import annotations

import pytest
from roost_hub.cli import main

pytestmark = pytest.mark.unit


def test_who_is_blocked_is_listed_until_unblocked(tmp_path, capsys):
    file = f"--file={tmp_path / 'blocked.json'}"
    assert main(["block", "alice", "--reason", "mines coins", file]) == 0
    assert main(["block", "bob", file]) == 0
    assert (tmp_path / "blocked.json").stat().st_mode & 0o777 == 0o600
    capsys.readouterr()
    assert main(["blocked", file]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0].startswith("alice  20")
    assert listed[0].endswith("UTC  mines coins")
    assert main(["unblock", "alice", file]) == 0
    assert main(["unblock", "alice", file]) == 1
    assert "alice was not blocked." in capsys.readouterr().err
    main(["blocked", file])
    assert capsys.readouterr().out.startswith("bob  ")


@pytest.mark.parametrize("content", ["{", "[]", '{"alice": 1}', '{"alice": {"x": 1}}'])
def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path, capsys, content):
    path = tmp_path / "blocked.json"
    path.write_text(content)
    assert main(["block", "alice", f"--file={path}"]) == 1
    assert f"{path} (who is blocked) is damaged" in capsys.readouterr().err
    assert path.read_text() == content


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["block", "alice", f"--file={tmp_path}/none/blocked.json"]) == 1
    assert "cannot be written" in capsys.readouterr().err
