"""No file in a home, a shared folder or `/tmp` is imported by what starts a session."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request

import pytest
from roost_spawner import compat
from roost_spawner.agent import write_private
from roost_spawner.clusters.base import JobRequest, Launcher, Resources
from roost_spawner.clusters.htcondor.submit import description
from roost_spawner.clusters.slurm.submit import script

from tests.spawner.htcondor.test_htcondor_submit import unquoted
from tests.support.agent_hub import HubDouble
from tests.support.tornado_server import tornado_server

pytestmark = pytest.mark.unit

# Which of them Python has not imported by the time that the first line runs differs by version.
NAMES = (
    *("abc", "ast", "code", "codecs", "contextlib", "copy", "ctypes", "email", "enum", "functools"),
    *("glob", "hashlib", "http", "io", "json", "logging", "os", "queue", "random", "re", "runpy"),
    *("select", "signal", "socket", "ssl", "string", "struct", "subprocess", "tempfile"),
    *("threading", "time", "token", "types", "typing", "urllib"),
)


@pytest.fixture
def littered(tmp_path):
    """Return a folder of modules that are named like the library's, and what they have written."""
    folder, marks = tmp_path / "littered", tmp_path / "marks"
    folder.mkdir()
    marks.mkdir()
    for name in NAMES:
        code = f"open({str(marks / name)!r}, 'w').close()\nclass Mine:\n    pass\n"
        (folder / f"{name}.py").write_text(code)
    (folder / "notebook_module.py").touch()
    return folder, lambda: sorted(path.name for path in marks.iterdir())


@pytest.fixture
async def hub(tmp_path):
    double = HubDouble(tmp_path)
    yield double
    double.server.stop()
    await double.server.close_all_connections()


async def read(port):
    def get():
        url = f"http://127.0.0.1:{port}/user/alice/"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.loads(answer.read())

    return await asyncio.to_thread(get)


@pytest.mark.parametrize("where", ["home", "workdir"])
async def test_a_session_starts_in_a_folder_of_modules_named_like_the_library(
    hub, littered, tmp_path, where
):
    folder, marks = littered
    hub.extra = tornado_server(tmp_path / "lib")
    hub.cwd = str(folder) if where == "workdir" else None
    home = {"HOME": str(folder)} if where == "home" else {}
    agent = await hub.run(cwd=folder, **home)
    seen = await read((await hub.call("ready"))["port"])
    agent.terminate()
    await agent.communicate()
    assert seen["cwd"] == str(folder)
    assert str(tmp_path / "lib") in seen["path"]  # PYTHONPATH counts
    assert not {"", str(folder)} & set(seen["path"])
    assert seen["kernel"] == str(folder / "notebook_module.py")  # a notebook's own folder too
    assert marks() == []


def test_the_job_on_either_cluster_imports_nothing_from_where_it_is_started(littered):
    folder, marks = littered
    code = f"import {', '.join(NAMES)}\nprint('ran')"
    launcher = Launcher(python=sys.executable, code=code, ticket=None)
    wish = Resources(cpus=1, memory_mib=512, walltime_s=600)
    found = description(JobRequest("hub/" + "0" * 32, wish, launcher))
    assert found["initialdir"] == "/"
    for command, given in (
        ([sys.executable, *unquoted(found["arguments"])], None),
        (["/bin/sh"], script(launcher)),
    ):
        done = subprocess.run(
            command, input=given, cwd=folder, capture_output=True, text=True, check=True
        )
        assert done.stdout == "ran\n"
    assert marks() == []


def test_the_steps_for_the_first_agent_import_nothing_from_where_it_is_started(littered, tmp_path):
    folder, marks = littered
    write_private(str(tmp_path / "status"), "")
    bundle = {
        "argv": [sys.executable, "-I", "-c", "print('ran')"],
        "env": {},
        "files": {},
        "prologue": "",
    }
    first = compat.for_first_agent(bundle)
    env = {**first["env"], "ROOST_STATUS_FILE": str(tmp_path / "status")}
    done = subprocess.run(
        first["argv"], env=env, cwd=folder, capture_output=True, text=True, check=True
    )
    assert (done.stdout, marks()) == ("ran\n", [])
