"""The steps of the main job, each one a line when it has been seen to work."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.demo.person import Person

TOKEN_CELL = """
import base64, json, os, stat
path = os.environ["BEARER_TOKEN_FILE"]
value = open(path).read().strip()
body = value.split(".")[1]
claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
print(json.dumps({"sub": claims["sub"], "iss": claims["iss"], "exp": claims["exp"],
                  "jti": claims.get("jti", claims["iat"]),
                  "mode": oct(stat.S_IMODE(os.stat(path).st_mode))}))
"""
PLACE_CELL = """
import getpass, json, os, socket
print(json.dumps({"user": getpass.getuser(), "host": socket.gethostname(),
                  "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}))
"""


class StepFailed(Exception):
    """A step of the flight did not show what it must."""


def in_host(host: str, *command: str) -> str:
    """Run a command in a host of the testbed and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "testbed", "exec", host, "--", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise StepFailed(f"{command[0]} on {host}: {done.stderr.strip()}")
    return done.stdout


def need(condition: bool, sentence: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise `sentence` unless the condition holds."""
    if not condition:
        raise StepFailed(sentence)


async def fly(person: Person, issuer: str, subject: str, say: Callable[[str], None]) -> None:
    """Fly the main job once as `person`.

    Raises
    ------
    StepFailed, testbed.demo.person.Refused
        If a step does not show what it must.
    """
    name = person.name
    await person.login()
    say(f"{name} logged in through IAM")
    await _htcondor(person, issuer, subject, say)
    await _slurm(person, say)


async def _htcondor(person: Person, issuer: str, subject: str, say: Callable[[str], None]) -> None:
    ready = await person.start("interactive")
    attributes = ["Owner", "AuthTokenIssuer", "AuthTokenSubject", "RemoteHost"]
    command = ["condor_q", "-allusers", "-json", "-attributes", ",".join(attributes)]
    jobs = json.loads(await asyncio.to_thread(in_host, "ap", *command) or "[]")
    mine = [job for job in jobs if job.get("Owner") == person.name and "RemoteHost" in job]
    need(len(mine) == 1, f"expected one running job of {person.name}, found {len(mine)}")
    job = mine[0]
    need(job["AuthTokenIssuer"] == issuer, f"the job's token came from {job['AuthTokenIssuer']}")
    need(job["AuthTokenSubject"] == subject, "the job was submitted with another one's token")
    slot, _, node = job["RemoteHost"].partition("@")
    short = node.partition(".")[0]
    need(slot.startswith("notebook"), f"the job runs in {slot}, which is no reserved slot")
    say(f"notebook runs on {short}, reserved slot {slot}, {ready.seconds:.1f} s after the click")
    place, token = (json.loads(text) for text in await person.run(PLACE_CELL, TOKEN_CELL))
    need(place["user"] == person.name, f"the cell ran as {place['user']}")
    need(place["host"].startswith(short), f"the cell ran on {place['host']}")
    say(f"a cell ran as {place['user']} on {short}")
    need(token["mode"] == "0o600", f"the token file has mode {token['mode']}")
    need(token["sub"] == subject and token["iss"] == issuer, "the token is not this user's")
    left = token["exp"] - time.time()
    say(f"the session holds an access token of {person.name}, good for {left:.0f} s more")
    await _renewed(person, token, say)
    await person.stop()
    left_over = await asyncio.to_thread(in_host, "ap", "condor_q", "-allusers", "-af", "Owner")
    need(person.name not in left_over.split(), "the job is still in the queue")
    say("notebook stopped, its job left the queue")


async def _renewed(person: Person, token: dict[str, object], say: Callable[[str], None]) -> None:
    began = time.monotonic()
    while time.monotonic() - began < 150:
        await asyncio.sleep(3)
        now = json.loads((await person.run(TOKEN_CELL))[0])
        if now["jti"] != token["jti"]:
            say(f"token renewed inside the job, good for {now['exp'] - time.time():.0f} s more")
            return
    raise StepFailed("the token inside the job was not renewed within 150 s")


async def _slurm(person: Person, say: Callable[[str], None]) -> None:
    ready = await person.start("gpu")
    place, token = (json.loads(text) for text in await person.run(PLACE_CELL, TOKEN_CELL))
    queue = await asyncio.to_thread(in_host, "ctl", "squeue", "-h", "-o", "%u %T %N %b")
    node = place["host"].partition(".")[0]
    need(f"{person.name} RUNNING {node} " in queue, f"squeue says: {queue.strip()}")
    need(place["user"] == person.name, f"the cell ran as {place['user']}")
    need(bool(place["gpus"]), "the session sees no GPU")
    say(
        f"notebook runs on {node}, Slurm's GPU {place['gpus']}, "
        f"{ready.seconds:.1f} s after the click"
    )
    need(token["exp"] > time.time(), "the token in the Slurm job is no longer good")
    await person.stop()
    say("notebook stopped, its job left the queue")
