"""The testbed's own coming and going, on a second one beside that of the other tests.

It shares the cache of roots with that one and nothing else: other name, network, cgroups, state.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from testbed.layout import PLAN, REPOSITORY

pytestmark = [
    pytest.mark.pool,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]
NAME = "selftest"
ENVIRONMENT = os.environ | {"ROOST_TESTBED_NAME": NAME}
STATE = Path(f"/var/lib/{NAME}-testbed")


def command_line(*words, check=True, **options):
    return subprocess.run(
        [sys.executable, "-m", "testbed", *words],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=check,
        **options,
    )


def up():
    return command_line("up", "--no-services")


def processes():
    """Every process in one of our cgroups or network namespaces."""
    found = set()
    for file in Path("/sys/fs/cgroup").glob(f"**/{NAME}-testbed/**/cgroup.procs"):
        found.update(file.read_text().split())
    for name in namespaces():
        shown = subprocess.run(
            ["ip", "netns", "pids", name], capture_output=True, text=True, check=False
        )
        found.update(shown.stdout.split())
    return found


def namespaces():
    shown = subprocess.run(
        ["ip", "netns", "list"], capture_output=True, text=True, check=False
    ).stdout
    return [line.split()[0] for line in shown.splitlines() if line.startswith(f"{NAME}-")]


def left_behind():
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if NAME in line]
    groups = list(Path("/sys/fs/cgroup").glob(f"**/{NAME}-testbed"))
    hosts = [line for line in Path("/etc/hosts").read_text().splitlines() if NAME in line]
    running = [
        process
        for process in Path("/proc").glob("[0-9]*")
        if f"{NAME}-switch".encode() in _command_line(process)
    ]
    state = [path.name for path in STATE.iterdir()] if STATE.exists() else []
    return [
        *mounts,
        *groups,
        *hosts,
        *running,
        *namespaces(),
        *processes(),
        *(set(state) - {"log"}),
    ]


def _command_line(process):
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture(autouse=True)
def nothing_before_and_after():
    command_line("down")
    yield
    command_line("down")
    subprocess.run(["rm", "-rf", STATE], check=True)


def test_up_twice_changes_nothing_and_down_leaves_nothing():
    up()
    before = processes()
    assert len(before) >= len(PLAN)
    up()
    assert processes() == before
    assert f"hub.{NAME}.roost.test" in Path("/etc/hosts").read_text()
    command_line("down")
    assert left_behind() == []


@pytest.mark.parametrize("delay", [0.2, 0.4, 0.6, 0.9])
def test_up_after_a_killed_up_works_and_so_does_down(delay):
    command = [sys.executable, "-m", "testbed", "up", "--no-services"]
    began = subprocess.Popen(
        command, cwd=REPOSITORY, env=ENVIRONMENT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(delay)
    began.send_signal(signal.SIGKILL)
    began.wait()
    up()
    for host in PLAN:
        shown = command_line(
            "exec", host, "--", "sh", "-c", "hostname -f; cat /etc/roost/tls/host.crt"
        )
        assert shown.stdout.startswith(f"{host}.roost.test\n-----BEGIN CERTIFICATE")
    command_line("down")
    assert left_behind() == []


def test_down_after_a_killed_up_leaves_nothing():
    command = [sys.executable, "-m", "testbed", "up", "--no-services"]
    began = subprocess.Popen(
        command, cwd=REPOSITORY, env=ENVIRONMENT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(0.5)
    began.send_signal(signal.SIGKILL)
    began.wait()
    command_line("down")
    assert left_behind() == []


def test_a_second_up_at_the_same_time_is_refused_in_a_sentence():
    up()
    lock = subprocess.Popen(
        ["flock", f"/run/{NAME}-testbed.lock", "sleep", "60"], start_new_session=True
    )
    time.sleep(0.3)
    try:
        refused = command_line("up", "--no-services", check=False)
    finally:
        os.killpg(lock.pid, signal.SIGKILL)
        lock.wait()
    assert refused.returncode == 1
    assert "at work" in refused.stderr


def test_exec_passes_input_output_status_and_user():
    up()
    shown = command_line(
        "exec", "ep1", "--user", "alice", "--", "sh", "-c", "id -un; cat", input="in"
    )
    assert shown.stdout == "alice\nin"
    assert command_line("exec", "ep1", "--", "sh", "-c", "exit 7", check=False).returncode == 7
    unknown = command_line("exec", "ep1", "--user", "nobody-here", "--", "true", check=False)
    assert unknown.stderr == "ep1 has no account nobody-here.\n"


def test_a_host_is_its_own_root_with_its_own_processes_and_homes_where_they_belong():
    up()
    script = "findmnt -no TARGET /; ps -e -o comm= | head -1; ls /home; ls -ld /home/alice"
    shown = command_line("exec", "gpu1", "--", "sh", "-c", script).stdout.split()
    assert shown[:6] == ["/", "python3", "alice", "bob", "carol", "mallory"]
    assert shown[6] == "drwx------"
    command_line("exec", "ep1", "--user", "bob", "--", "touch", "/home/bob/seen")
    command_line("exec", "ep2", "--user", "bob", "--", "ls", "/home/bob/seen")
    assert command_line("exec", "hub", "--", "ls", "/home").stdout == ""
    assert command_line("exec", "ep1", "--", "ls", "/srv/roost").stdout == ""
    refused = command_line("exec", "hub", "--", "touch", "/srv/roost/x", check=False)
    assert "Read-only" in refused.stderr


def test_a_cut_host_is_unreachable_until_it_is_healed():
    up()
    listen = "import socket; s = socket.create_server(('', 99)); s.accept()[0].send(b'hello')"
    ask = "import socket; print(socket.create_connection(('ep2', 99), 2).recv(9).decode())"
    with subprocess.Popen(
        [sys.executable, "-m", "testbed", "exec", "ep2", "--", "python3", "-c", listen],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
    ):
        command_line("cut", "ep2")
        assert command_line("exec", "ep1", "--", "python3", "-c", ask, check=False).returncode != 0
        assert "cut off" in command_line("status").stdout
        command_line("heal", "ep2")
        until = time.monotonic() + 10
        while time.monotonic() < until:
            shown = command_line("exec", "ep1", "--", "python3", "-c", ask, check=False)
            if shown.returncode == 0:
                break
        assert shown.stdout == "hello\n"


def test_the_machine_reaches_the_hub_through_its_forwarder():
    up()
    serve = "cd /srv/roost && exec python3 -m http.server 8443"
    address = json.loads(command_line("paths").stdout)["addresses"]["hub"]
    with subprocess.Popen(
        [sys.executable, "-m", "testbed", "exec", "hub", "--", "sh", "-c", serve],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as server:
        until = time.monotonic() + 10
        found = b""
        while not found and time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"http://{address}:8443/LICENSE", timeout=5) as answer:
                    found = answer.read()
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        server.terminate()
        command_line("down")  # ends what runs in the host
    assert found == (REPOSITORY / "LICENSE").read_bytes()


def test_homes_can_be_kept_apart():
    command_line("up", "--no-services", "--no-shared-home")
    command_line("exec", "ep1", "--user", "bob", "--", "touch", "/home/bob/seen")
    assert command_line("exec", "ep2", "--user", "bob", "--", "ls", "/home/bob").stdout == ""
    refused = command_line("up", "--no-services", check=False)
    assert "separate homes" in refused.stderr
