from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from roost_spawner import agent_archive
from roost_spawner.bootstrap import agent_source

pytestmark = pytest.mark.unit

FIRST = Path(__file__).parents[1] / "data/agents/agent-1.txt"


def test_the_agents_of_all_hubs_before_this_one_are_found(tmp_path):
    folder = tmp_path / "agents"
    sha256 = agent_archive.remember(folder)
    first = hashlib.sha256(FIRST.read_bytes()).hexdigest()
    shutil.copy(FIRST, folder / f"{first}.py")
    assert agent_archive.find(folder, sha256, kept=True) == agent_source()[0]
    assert agent_archive.find(folder, first) == FIRST.read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == sorted([f"{sha256}.py", f"{first}.py"])


def test_the_current_agent_is_found_wherever_the_folder_is(tmp_path):
    source, sha256 = agent_source()
    assert agent_archive.find(None, sha256) == source
    assert agent_archive.find(tmp_path / "none", sha256) == source


@pytest.mark.parametrize("sha256", ["0" * 64, "../../etc/passwd", "0" * 63])
def test_what_nobody_pinned_is_not_found(tmp_path, sha256):
    assert agent_archive.find(tmp_path, sha256) is None


def test_a_source_that_was_cut_short_is_written_anew_and_never_served(tmp_path):
    source, sha256 = agent_source()
    (tmp_path / f"{sha256}.py").write_bytes(source[:100])
    assert agent_archive.find(tmp_path, sha256, kept=True) is None
    agent_archive.remember(tmp_path)
    assert agent_archive.find(tmp_path, sha256, kept=True) == source


def test_a_folder_that_cannot_be_written_is_no_silence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        agent_archive.remember(tmp_path / "file")
