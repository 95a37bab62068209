"""The process that speaks HTCondor.  ``python -m roost_spawner.clusters.htcondor.worker``.

The hub cannot call htcondor2 itself: every call holds Python's global lock for its whole network
round trip, and security sessions are cached per process by address, so that two users' tokens in
one process would become one identity.  Hence:

* this process has htcondor2 imported and makes no call with it: it only forks;
* the watcher's calls run in standing children ("lanes"), with the watcher's own token;
* each call as a user runs in a child of its own, forked for it and ended after it.

It speaks JSON lines.  The first line on stdin is the settings; every further one a call
``{"id", "call", "lane" | "token", "timeout", ...}``.  Answers on stdout, in any order, are
``{"id", "ok"}`` or ``{"id", "error", "kind"}`` with kind ``htcondor``, ``timeout`` or ``died``.
Tokens come in by the pipe and stay in the child's memory; they never stand in an argument, in an
environment that a program is started with, or in a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import ssl
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import classad2
import htcondor2

from roost_spawner.clusters.htcondor.ads import Reader, plain

Message = dict[str, Any]
_CHUNK = 1 << 20


# -- in a child: calls -----------------------------------------------------------------------------


def _be_user(settings: Message, token: str) -> None:
    """Take a user's identity, for the rest of this process."""
    _secure(settings, "SCITOKENS")
    # Into this process's memory only: /proc shows the environment that a program was started with,
    # and this child starts none.  (A memory file would do too, but HTCondor opens files with the
    # checks of its safe-open library, which refuse /proc/self/fd unless it runs as root.)
    os.environ["BEARER_TOKEN"] = token


def _be_watcher(settings: Message) -> None:
    """Take the watcher's identity, for the rest of this process."""
    _secure(settings, "IDTOKENS")
    # HTCondor takes a folder, and reads whatever lies in it: one with nothing else.
    htcondor2.param["SEC_TOKEN_DIRECTORY"] = settings["token_folder"]


def _secure(settings: Message, method: str) -> None:
    knobs = {
        "SEC_CLIENT_AUTHENTICATION_METHODS": method,
        "SEC_CLIENT_AUTHENTICATION": "REQUIRED",
        "SEC_CLIENT_ENCRYPTION": "REQUIRED",
        "SEC_CLIENT_INTEGRITY": "REQUIRED",
        "BOOTSTRAP_SSL_SERVER_TRUST": "false",
        "COLLECTOR_HOST": settings["collector"],
        # The job's folder is a node's, not this host's.
        "SUBMIT_SKIP_FILECHECK": "true",
        "QUERY_TIMEOUT": "20",
    }
    # The wheel brings an OpenSSL of its own, built to look for CAs where another system has them.
    paths = ssl.get_default_verify_paths()
    knobs["AUTH_SSL_CLIENT_CAFILE"] = settings.get("ca_file") or paths.cafile or ""
    knobs["AUTH_SSL_CLIENT_CADIR"] = "" if settings.get("ca_file") else paths.capath or ""
    for name, value in knobs.items():
        htcondor2.param[name] = value


def _schedd(call: Message) -> Any:
    location = classad2.ClassAd({"MyAddress": call["address"], "CondorVersion": ""})
    return htcondor2.Schedd(location)


def _locate(settings: Message, _call: Message) -> Any:
    collector = htcondor2.Collector(settings["collector"])
    ad = collector.locate(htcondor2.DaemonType.Schedd, settings["schedd"])
    if ad is None:
        raise RuntimeError(f"Unable to locate {settings['schedd']}: the collector has no ad of it")
    return str(ad["MyAddress"])


def _access_point(settings: Message, call: Message) -> Any:
    """Return the schedd's own ad, as the collector has it; empty if it has none."""
    collector = htcondor2.Collector(settings["collector"])
    which = f"Name == {classad2.quote(settings['schedd'])}"
    ads = collector.query(htcondor2.AdType.Schedd, which, call["projection"])
    return plain(ads[0], call["projection"]) if len(ads) == 1 else {}


def _jobs(_settings: Message, call: Message) -> Any:
    return _queue.read(_schedd(call).query, call["constraint"], call["projection"])


# What could not be read stays known between the calls of a lane.
_queue = Reader("ClusterId", also=("ProcId",), literals=True)
_pool = Reader("Name", comparisons=True)


# What the hub has been told of a listing: of a thousand sessions nearly none has news.
_told: dict[str, tuple[int, dict[str, Message]]] = {}


def _changes(settings: Message, call: Message) -> Any:
    """Return what has changed since the answer that the hub has, or all of it."""
    constraint = call["constraint"]
    number, old = _told.get(constraint, (0, {}))
    whole = call["since"] != number or not number
    ads = {f"{ad['ClusterId']}.{ad['ProcId']}": ad for ad in _jobs(settings, call)}
    # Numbers of a child before this one mean nothing to us.
    number = number + 1 if number else int.from_bytes(os.urandom(4), "big") + 1
    _told[constraint] = (number, ads)
    if whole:
        return {"number": number, "whole": True, "ads": ads, "gone": []}
    changed = {job_id: ad for job_id, ad in ads.items() if old.get(job_id) != ad}
    return {
        "number": number,
        "whole": False,
        "ads": changed,
        "gone": [job_id for job_id in old if job_id not in ads],
    }


def _history(_settings: Message, call: Message) -> Any:
    schedd = _schedd(call)

    def ask(constraint: str, projection: list[str]) -> list[Any]:
        return list(schedd.history(constraint, projection, match=1))

    # Its own reader: a job that has ended does not change any more.
    return Reader("ClusterId", also=("ProcId",)).read(ask, call["constraint"], call["projection"])


def _nothing(_settings: Message, _call: Message) -> Any:
    """Answer that this process is there."""
    return True


def _slots(settings: Message, call: Message) -> Any:
    collector = htcondor2.Collector(settings["collector"])

    def ask(constraint: str, projection: list[str]) -> list[Any]:
        return list(collector.query(htcondor2.AdType.Startd, constraint, projection))

    return _pool.read(ask, call["constraint"], call["projection"])


def _negotiators(settings: Message, call: Message) -> Any:
    collector = htcondor2.Collector(settings["collector"])

    def ask(constraint: str, projection: list[str]) -> list[Any]:
        return list(collector.query(htcondor2.AdType.Negotiator, constraint, projection))

    return Reader("Name").read(ask, call["constraint"], call["projection"])


def _submit(_settings: Message, call: Message) -> Any:
    result = _schedd(call).submit(htcondor2.Submit(call["description"]), count=1)
    return f"{result.cluster()}.0"


# In a job's ad only a quote is escaped, and not the last one; the parser here knows more escapes.
_LAST_BACKSLASH = re.compile(r'\\(?!")|\\(?="\s*$)')


def _unparsed(_settings: Message, call: Message) -> Any:
    """Return the names of the texts that are no ClassAd expressions."""
    found = []
    for name, text in call["expressions"].items():
        try:
            classad2.ExprTree(_LAST_BACKSLASH.sub(r"\\\\", text))
        except classad2.ClassAdException:
            found.append(name)
    return found


def _remove(_settings: Message, call: Message) -> Any:
    # A plain string as the reason would be dropped: htcondor2 looks for text and code.
    reason = (call["reason"], 0)
    answer = _schedd(call).act(htcondor2.JobAction.Remove, [call["job_id"]], reason)
    return plain(answer, list(answer.keys()))


_CALLS = {
    "locate": _locate,
    "access_point": _access_point,
    "jobs": _jobs,
    "changes": _changes,
    "history": _history,
    "nothing": _nothing,
    "slots": _slots,
    "negotiators": _negotiators,
    "submit": _submit,
    "remove": _remove,
    "unparsed": _unparsed,
}


def _answer(settings: Message, call: Message) -> Message:
    try:
        return {"id": call["id"], "ok": _CALLS[call["call"]](settings, call)}
    except Exception as error:
        return {"id": call["id"], "error": f"{error}", "kind": "htcondor"}


def _read_line(source: int, held: bytearray) -> bytes | None:
    while b"\n" not in held:
        part = os.read(source, _CHUNK)
        if not part:
            return None
        held += part
    line, _, rest = bytes(held).partition(b"\n")
    held[:] = rest
    return line


def _write_line(target: int, message: Message) -> None:
    data = memoryview(json.dumps(message).encode() + b"\n")
    while data:
        data = data[os.write(target, data) :]


def _child(settings: Message, calls: int, answers: int, first: Message | None) -> NoReturn:
    """Answer one call as a user, or any number as the watcher."""
    status = 1
    try:
        if first is not None:
            _be_user(settings, first.pop("token"))
            _write_line(answers, _answer(settings, first))
        else:
            _be_watcher(settings)
            held = bytearray()
            while (line := _read_line(calls, held)) is not None:
                _write_line(answers, _answer(settings, json.loads(line)))
        status = 0
    except OSError:
        pass  # the parent is gone
    finally:
        os._exit(status)


# -- in the worker: forking ------------------------------------------------------------------------


@dataclass(slots=True)
class _Child:
    pid: int
    calls: int
    answers: int
    lane: str | None
    held: bytearray = field(default_factory=bytearray)
    pending: dict[int, float] = field(default_factory=dict)
    """Calls that it has not answered, each with its deadline."""


class Worker:
    """Forks children for calls, and hands their answers on.

    Parameters
    ----------
    settings
        The first line: ``collector``, ``schedd``, ``watch_token``, ``ca_file``.
    """

    def __init__(self, settings: Message) -> None:
        self._settings = settings
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, _Child] = {}
        self._lanes: dict[str, _Child] = {}

    def run(self, source: int, held: bytearray) -> None:
        """Serve until `source` ends."""
        self._selector.register(source, selectors.EVENT_READ)
        while True:
            for call in self._take(held):
                self._begin(call)
            for key, _ in self._selector.select(self._patience()):
                if key.fd == source:
                    part = os.read(source, _CHUNK)
                    if not part:
                        return
                    held += part
                else:
                    self._hear(self._children[key.fd])
            self._expire()

    def close(self) -> None:
        """End every child."""
        for child in list(self._children.values()):
            self._bury(child, "died")

    def _take(self, held: bytearray) -> list[Message]:
        *lines, rest = bytes(held).split(b"\n")
        held[:] = rest
        return [json.loads(line) for line in lines]

    def _begin(self, call: Message) -> None:
        deadline = time.monotonic() + call.pop("timeout")
        number = call["id"]
        if "token" in call:
            child = self._fork(None, call)
            child.pending[number] = deadline
            return
        lane = call.pop("lane")
        child = self._lanes.get(lane) or self._fork(lane, None)
        self._lanes[lane] = child
        child.pending[number] = deadline
        try:
            _write_line(child.calls, call)
        except OSError:
            self._bury(child, "died")

    def _fork(self, lane: str | None, first: Message | None) -> _Child:
        calls_out, calls_in = os.pipe()
        answers_out, answers_in = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for other in self._children.values():
                os.close(other.calls)
                os.close(other.answers)
            os.close(calls_in)
            os.close(answers_out)
            # The hub's pipes are not for a child, nor for what HTCondor's library may print.
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 0)
            os.dup2(nothing, 1)
            _child(self._settings, calls_out, answers_in, first)
        os.close(calls_out)
        os.close(answers_in)
        child = _Child(pid, calls_in, answers_out, lane)
        self._children[answers_out] = child
        self._selector.register(answers_out, selectors.EVENT_READ)
        return child

    def _hear(self, child: _Child) -> None:
        part = os.read(child.answers, _CHUNK)
        if not part:
            self._bury(child, "died")
            return
        child.held += part
        *lines, rest = bytes(child.held).split(b"\n")
        child.held[:] = rest
        for line in lines:
            message = json.loads(line)
            child.pending.pop(message["id"], None)
            _write_line(1, message)

    def _patience(self) -> float | None:
        deadlines = [d for child in self._children.values() for d in child.pending.values()]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _expire(self) -> None:
        now = time.monotonic()
        for child in list(self._children.values()):
            if any(deadline <= now for deadline in child.pending.values()):
                self._bury(child, "timeout")

    def _bury(self, child: _Child, kind: str) -> None:
        self._selector.unregister(child.answers)
        del self._children[child.answers]
        if child.lane is not None and self._lanes.get(child.lane) is child:
            del self._lanes[child.lane]
        os.close(child.calls)
        os.close(child.answers)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        text = {"timeout": "no answer in time", "died": "the call's process ended"}[kind]
        for number in child.pending:
            _write_line(1, {"id": number, "error": text, "kind": kind})


def main() -> None:
    """Serve the hub on stdin and stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the hub; we end with our stdin
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    warnings.simplefilter("ignore")
    held = bytearray()
    line = _read_line(0, held)
    if line is None:
        return
    settings = json.loads(line)
    with tempfile.TemporaryDirectory(prefix="roost-htcondor-") as folder:
        Path(folder, "watch").symlink_to(Path(settings["watch_token"]).absolute())
        worker = Worker(settings | {"token_folder": folder})
        with contextlib.suppress(BrokenPipeError):
            worker.run(0, held)
        worker.close()


if __name__ == "__main__":
    main()
