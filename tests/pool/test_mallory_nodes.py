"""What another user on the nodes can see and reach of a session: nothing."""

from __future__ import annotations

import re
import secrets

import pytest

from tests.support.mallory import lives

pytestmark = pytest.mark.pool

LOOK = r"""
import os, re
found = []
for number in filter(str.isdigit, os.listdir("/proc")):
    try:
        if os.stat("/proc/" + number).st_uid != %(uid)d:
            continue
        line = open("/proc/%%s/cmdline" %% number, "rb").read().replace(b"\0", b" ").decode()
    except OSError:
        continue
    found.append("cmdline " + line)
    for name in ("environ", "mem", "maps", "stack", "io", "auxv", "syscall"):
        try:
            with open("/proc/%%s/%%s" %% (number, name), "rb") as file:
                if name == "maps":
                    place = int(file.read(32).split(b"-")[0], 16)
                    found.append("OPEN maps")
                elif name == "mem":
                    file.seek(0x400000)
                    found.append("OPEN mem")
                else:
                    found.append("OPEN " + name + " " + repr(file.read(200)))
        except OSError:
            pass
    for name in ("cwd", "root", "exe", "fd", "map_files"):
        try:
            found.append("OPEN " + name + " " + repr(os.listdir("/proc/%%s/%%s" %% (number, name))))
        except OSError:
            pass
for name in %(paths)r:
    for path in (name, os.path.dirname(name)):
        try:
            found.append("OPEN " + path + repr(os.listdir(path)))
        except NotADirectoryError:
            found.append("OPEN " + path)
        except OSError:
            pass
    try:
        found.append("OPEN " + open(name).read())
    except OSError:
        pass
print("\n".join(found))
"""


@pytest.mark.parametrize("profile", ["interactive", "gpu"])
async def test_another_user_on_the_node_reads_nothing_of_a_session(
    testbed, mallory, alice, profile
):
    await alice.start(profile)
    (where,) = await alice.run("import socket; print(socket.gethostname())")
    node = testbed.hosts[where.partition(".")[0]]
    uid = next(person.uid for person in testbed.people if person.name == "alice")
    # Root shows mallory where to look: the cookie, the agent's directory and all below it.
    names = "-name .chirp.config -o -name 'bt_u*' -o -name status.json -o -name server.log"
    search = f"find / -xdev -user alice \\( {names} -o -path '*/roost-*' \\) 2>/dev/null; true"
    seen_from = [f"/proc/{number}/root" for number in alices_pids(node, uid)[:1]]
    paths = node.run(["sh", "-c", search]).stdout.split()
    for root in seen_from:  # /tmp is each job's own
        found = node.run(["sh", "-c", search.replace("find /", f"find {root}/ {root}/tmp", 1)])
        paths += found.stdout.split()
    assert any(path.endswith("status.json") for path in paths)
    assert any(path.endswith(".chirp.config") for path in paths) == (profile == "interactive")
    code = LOOK % {"uid": uid, "paths": paths}
    done = node.run(["/usr/bin/python3", "-"], input=code, user="mallory")
    seen = done.stdout.splitlines()
    assert any("jupyterhub.singleuser" in line or "labhub" in line for line in seen), done.stderr
    assert [line for line in seen if line.startswith("OPEN")] == []
    # The server's own port: who is not the proxy gets no page and no API without a token.
    port = mallory.record("alice")["port"]
    for scheme in ("http", "https"):
        for name in ("user/alice/api/contents", "user/alice/api/kernels", "user/alice/lab"):
            command = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"]
            url = f"{scheme}://127.0.0.1:{port}/{name}"
            answer = node.run([*command, url], user="mallory", check=False).stdout
            assert answer in {"000", "302", "400", "403", "405"}, (url, answer)
    assert await lives(alice)


def alices_pids(node, uid):
    listed = node.run(["ps", "-eo", "pid,uid,args"]).stdout.splitlines()[1:]
    return [
        line.split()[0] for line in listed if line.split()[1] == str(uid) and "singleuser" in line
    ]


async def test_the_starters_channel_takes_nobody_without_its_cookie(testbed, alice):
    await alice.start("interactive")
    (where,) = await alice.run("import socket; print(socket.gethostname())")
    node = testbed.hosts[where.partition(".")[0]]
    found = node.run(
        ["sh", "-c", "cat $(find /var -user alice -name .chirp.config | head -1)"]
    ).stdout.split()
    host, port, cookie = found[:3]
    code = (
        "import socket\n"
        f"for word in ({secrets.token_hex(len(cookie) // 2)!r}, '', '*'):\n"
        f"    line = socket.create_connection(({host!r}, {int(port)})).makefile('rw')\n"
        "    for say in ('cookie ' + word, 'set_job_attr RoostKeyHash \"x\"',\n"
        "                'get_job_attr Owner'):\n"
        "        line.write(say + chr(10)); line.flush()\n"
        "        print('said', repr(line.readline()))\n"
    )
    done = node.run(["/usr/bin/python3", "-"], input=code, user="mallory", check=False)
    said = re.findall(r"said '(.*)'", done.stdout)
    assert said, done.stderr
    assert not [word for word in said if not word.startswith("-") and word]
    assert await lives(alice)
