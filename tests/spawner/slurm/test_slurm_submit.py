"""The job script: nothing secret in argv or environment, whatever the code holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from roost_spawner.clusters.base import JobRequest, Launcher, Resources
from roost_spawner.clusters.slurm import submit

pytestmark = pytest.mark.unit

NASTY = "ROOST_END\n$(touch /tmp/x) `id` 'quoted' \"double\" \\n \u00e4 \u20ac \\\\ %s {x}\n"


def request(**resources):
    wanted = {"cpus": 2, "memory_mib": 2048, "walltime_s": 3600, "partition": "gpu"} | resources
    return JobRequest(
        mark="hub/abcdefgh",
        resources=Resources(**wanted),
        launcher=Launcher(python="/opt/jupyter/bin/python", code="pass", ticket="t"),
    )


def run(launcher, tmp_path):
    path = tmp_path / "script"
    path.write_text(submit.script(launcher), encoding="utf-8")
    done = subprocess.run(
        ["/bin/sh", str(path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_code_and_ticket_arrive_unchanged_and_stay_out_of_argv(tmp_path):
    code = (
        "from __future__ import annotations\n"
        f"nasty = {NASTY!r}\n"
        "import json, pathlib\n"
        "me = pathlib.Path('/proc/self')\n"
        "print(json.dumps([ticket, nasty, me.joinpath('cmdline').read_text(),"
        " me.joinpath('environ').read_text()]))\n"
    )
    launcher = Launcher(python=sys.executable, code=code, ticket=f"secret{NASTY}")
    ticket, nasty, argv, environment = run(launcher, tmp_path)
    assert (ticket, nasty) == (f"secret{NASTY}", NASTY)
    assert argv.split("\0")[:-1] == [sys.executable, "-I", "-"]
    assert "secret" not in environment


def test_a_module_planted_in_the_current_folder_is_not_imported(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    launcher = Launcher(python=sys.executable, code="import json; print(json.dumps(1))")
    assert run(launcher, tmp_path) == 1


def test_a_python_with_blanks_in_its_path_is_quoted(tmp_path):
    link = tmp_path / "a b'c"
    link.symlink_to(Path(sys.executable).resolve())
    assert run(Launcher(python=str(link), code="print(7)"), tmp_path) == 7


def test_script_of_a_launcher_is_plain_ascii():
    submit.script(Launcher(python="/p", code=NASTY, ticket=NASTY)).encode("ascii")


def test_what_is_not_asked_for_is_left_out():
    assert set(submit.payload(request())) == {
        *("script", "mark", "partition", "cpus", "memory_mib", "time_minutes", "gpus")
    }


@pytest.mark.parametrize(("seconds", "minutes"), [(1, 1), (60, 1), (61, 2), (3600, 60)])
def test_walltime_is_rounded_up_to_slurms_minutes(seconds, minutes):
    assert submit.payload(request(walltime_s=seconds))["time_minutes"] == minutes


def test_a_gpu_type_without_gpus_is_not_sent():
    assert "gpu_type" not in submit.payload(request(gpus=0, gpu_type="a100"))
    assert submit.payload(request(gpus=1, gpu_type="a100"))["gpu_type"] == "a100"
