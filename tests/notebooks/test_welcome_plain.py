"""The welcome notebook's code in places where it has nothing to show; real sessions: tests/pool."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "welcome.ipynb"


def execute():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    said, scope = io.StringIO(), {}
    with contextlib.redirect_stdout(said):
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), scope)
    return said.getvalue()


@pytest.fixture(autouse=True)
def nothing(monkeypatch):
    for name in (
        *("_CONDOR_MACHINE_AD", "_CONDOR_JOB_AD", "_CONDOR_SLOT", "SLURM_JOB_ID"),
        *("CUDA_VISIBLE_DEVICES", "BEARER_TOKEN_FILE", "ROOST_TOKEN_DIR"),
    ):
        monkeypatch.delenv(name, raising=False)


def test_outside_of_a_session_it_says_so_and_fails_nowhere():
    said = execute()
    assert "No batch system runs it" in said
    assert "No GPU" in said
    assert "no access token yet" in said


def test_in_a_reserved_slot(monkeypatch, tmp_path):
    (tmp_path / "machine").write_text('Name = "notebook_3@ep1"\nMemory = 1280\nCpus = 1\n')
    (tmp_path / "job").write_text("ClusterId = 12\nProcId = 0\n")
    monkeypatch.setenv("_CONDOR_MACHINE_AD", str(tmp_path / "machine"))
    monkeypatch.setenv("_CONDOR_JOB_AD", str(tmp_path / "job"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "10000")
    said = execute()
    assert "job 12.0, slot notebook_3@ep1" in said
    assert "1280 MiB" in said
    assert "No GPU" in said


def test_on_a_gpu_node(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_PARTITION", "gpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    said = execute()
    assert "job 7 in partition gpu" in said
    assert "Your GPUs: 0, 1." in said


def test_the_token_is_described_and_never_shown(monkeypatch, tmp_path):
    claims = {"iss": "https://iam", "sub": "uuid", "aud": "https://x", "exp": time.time() + 90}
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    (tmp_path / "default").write_text(f"head.{body}.signature")
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "default"))
    monkeypatch.setenv("ROOST_TOKEN_DIR", str(tmp_path))
    said = execute()
    assert "Good for 1.5 more minutes" in said
    assert "default: for https://x" in said
    assert body not in said
    assert "signature" not in said


def test_it_is_kept_without_output():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
