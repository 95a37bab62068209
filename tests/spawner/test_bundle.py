from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from roost_spawner.bundle import ends_in
from roost_spawner.server_lines import server_command

pytestmark = pytest.mark.unit

SERVER = """
import importlib.util, sys
try:
    import left_out
except ImportError as error:
    print(type(error).__name__)
else:
    print("imported")
print(__name__, sys.argv[1:], sys.modules["__main__"].__spec__.name)
"""


@pytest.mark.parametrize(
    ("skips", "came"), [([], "imported"), (["left_out", "other"], "ModuleNotFoundError")]
)
def test_the_server_starts_as_a_module_does_and_without_what_it_skips(tmp_path, skips, came):
    package = tmp_path / "jupyterhub/singleuser"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "__main__.py").write_text(SERVER)
    (tmp_path / "left_out.py").touch()
    command = [*server_command(sys.executable, skips), "--port=1", "-x"]
    path = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=path, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == came
    assert second == "__main__ ['--port=1', '-x'] jupyterhub.singleuser.__main__"


def test_the_server_does_not_outlive_its_agent(tmp_path):
    package = tmp_path / "jupyterhub/singleuser"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"
    )
    agent = (
        "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(60)",
        *server_command(sys.executable, []),
    )
    with subprocess.Popen(
        [sys.executable, "-c", *agent],
        env={"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        os.kill(server, 0)  # it lives
        process.kill()
        # Its end of the pipe is closed when it ends.
        assert process.stdout.read() == ""
    assert process.returncode == -9


def test_the_walltime_that_is_left_is_relative_and_unknown_if_nobody_knows():
    assert ends_in(0.0) is None
    assert ends_in(time.time() + 100) in {99, 100}
    assert ends_in(time.time() - 100) == 1  # over, by clocks that differ: soon
