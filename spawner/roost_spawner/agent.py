"""The agent: runs inside the job, proves itself to the hub, starts the server and looks after it.

One file of the standard library only, for every Python since 3.6: nodes need nothing of ours.  The
bootstrap (see ``bootstrap.py``) loads it from the hub, checks its SHA-256 and calls :func:`main`.
Start-up time is felt by a person who waits, so modules that only some sessions need are imported
where they are used, and annotations are strings.

What it does, in this order: shows the proof (a key whose hash stands in the job's ad, or a ticket),
takes the bundle, writes its files and tokens, starts the server, says *ready* once the server
answers, keeps the tokens fresh, tells the memory in use, says when the walltime nears its end,
tells the hub and leaves time to save when the node is taken back, ends the server, and reports how
it ended.
"""

import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from _thread import allocate_lock, start_new_thread
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection

TYPE_CHECKING = False
if TYPE_CHECKING:  # not from typing: importing it takes 5 ms
    from types import FrameType
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

VERSION = "2"
PATIENCE = 180.0  # seconds that the hub may be away while we have no bundle yet
# Seconds between SIGTERM and SIGKILL, as sessions ask the scheduler for.  The server lives on for
# the first part of them: time to save by hand, and for JupyterLab's autosave (every 20 s).
GRACE = 30.0
TO_FALL = 0.4  # in which a server that was signalled too stops to answer
TO_END, TO_TELL = 8.0, 3.0  # of these, what the server has to end, and we to tell the hub
WALLTIME_NOTICES = (900, 300)  # seconds before the end
# The memory in use is told when it has changed by more than this part (and 32 MiB), no more often
# than the second of these spans and no less often than the third, in seconds.
USAGE_STEP = 0.05
USAGE_FIRST, USAGE_EVERY, USAGE_AT_LEAST = 30.0, 120.0, 900.0
LOG_LINES = 20
OTHER_PORTS = 3  # to try when another program was faster
MAX_ANSWER = 16 << 20
PROBE_EVERY = 0.02
ANY_HOST = ("", "*", "0.0.0.0", "::", "[::]")  # noqa: S104 - of the node's addresses
HERE = "@ROOST_DIR@"  # in argv and environment: our own directory
NO_APPTAINER, NO_IMAGE = 78, 79  # exit statuses of the lines that start it


class Refused(Exception):
    """The hub will never give us what we ask for."""

    status = 77  # EX_NOPERM


class Away(Refused):
    """The hub has not answered for as long as we wait."""

    status = 75  # EX_TEMPFAIL


def say(text: str) -> None:
    """Write a line to the job's own error output."""
    sys.stderr.write("roost-agent: " + text + "\n")
    sys.stderr.flush()


def jitter() -> float:
    """Return a number between 0.5 and 1, so that a thousand agents do not call at once."""
    return 0.5 + os.urandom(1)[0] / 512.0


def write_private(path: str, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path + ".new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.rename(temporary, path)


def clock(at: float) -> str:
    """Return a time by this node's clock and zone."""
    return time.strftime("%H:%M", time.localtime(at))


def standing(until: float, who: str, since: float) -> str:
    """Return how a token stands that cannot be renewed now, in words."""
    begin = "Good until " if until > time.time() else "Ended at "
    return begin + clock(until) + "; " + who + " does not answer since " + clock(since) + "."


class Hub:
    """The hub's handoff interface for one session, over one kept connection."""

    def __init__(
        self, api: str, session: str, connection: "Optional[HTTPConnection]" = None
    ) -> None:
        scheme, _, rest = api.partition("://")
        self.api, self.session = api, session
        self.host, _, path = rest.partition("/")
        self.path = "/" + path + "sessions/" + session + "/"
        self.kind = HTTPSConnection if scheme == "https" else HTTPConnection
        self.connection = connection

    def post(
        self, what: str, body: "Dict[str, Any]", token: str = "", timeout: float = 15.0
    ) -> "Tuple[int, Dict[str, Any]]":
        """Return status and answer; status 0 when the hub could not be reached."""
        headers = {"Content-Type": "application/json", "User-Agent": "roost-agent/" + VERSION}
        if token:
            headers["Authorization"] = "token " + token
        while True:
            kept = self.connection
            try:
                connection = kept or self.kind(self.host, timeout=timeout)
                self.connection = connection
                if connection.sock is not None:
                    connection.sock.settimeout(timeout)
                connection.request("POST", self.path + what, json.dumps(body), headers)
                reply = connection.getresponse()
                text = reply.read(MAX_ANSWER)
            except (OSError, HTTPException) as error:
                self.close()
                if kept is not None:
                    continue  # the hub had closed the kept connection: once more on a new one
                say("the hub does not answer: " + repr(error))
                return 0, {}
            try:
                answer = json.loads(text.decode("utf-8"))
            except ValueError:
                answer = {}
            return reply.status, answer if isinstance(answer, dict) else {}

    def twin(self) -> "Hub":
        """Return the same with a connection of its own, for another thread."""
        return Hub(self.api, self.session)

    def close(self) -> None:
        """Forget the connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


def publish_key_hash(key: bytes, scratch: str) -> None:
    """Write the key's SHA-256 into the job's own ad through the starter.

    Only processes in the job's sandbox can read the cookie (HTCondor manual, "Chirp").
    """
    try:
        with open(os.path.join(scratch, ".chirp.config")) as file:
            host, port, cookie = file.read().split()[:3]
        with socket.create_connection((host, int(port)), timeout=10) as chirp:
            stream = chirp.makefile("rb")
            digest = hashlib.sha256(key).hexdigest()
            for line in ("cookie " + cookie, 'set_job_attr RoostKeyHash "' + digest + '"'):
                chirp.sendall(line.encode() + b"\n")
                answer = stream.readline().strip()
                if answer != b"0":
                    raise OSError("chirp answered " + repr(answer))
    except (OSError, ValueError) as error:
        say("could not write the key's hash into the job's ad: " + str(error))


def take_bundle(hub: Hub, key: bytes, ticket: str) -> "Dict[str, Any]":
    """Show the proof until the hub hands the bundle out or refuses for good."""
    body = {"key": key.hex()}
    if ticket:
        body["ticket"] = ticket
    until = time.monotonic() + PATIENCE
    pause = 0.25
    while True:
        status, answer = hub.post("bundle", body, timeout=30.0)
        if status == 200:
            return answer
        message = str(answer.get("message", ""))
        if status in (400, 403, 410):
            raise Refused("the hub refused this job (" + str(status) + "): " + message)
        if time.monotonic() > until:
            raise Away("the hub gave no bundle in time (" + str(status) + "): " + message)
        time.sleep(pause * jitter())
        pause = min(2 * pause, 8.0)


def hold_port(
    ports: "Optional[Sequence[int]]", host: str = ""
) -> "Tuple[int, List[socket.socket]]":
    """Return a port within `ports` (first and last) if given, and the sockets that hold it.

    One socket for each family that the node has, unless `host` is one address: where only one is
    held, the other is free to a neighbour on the node.
    """
    if ports:
        first, last = ports
        size = last - first + 1
        start = int.from_bytes(os.urandom(4), "big")
        candidates = [first + (start + step) % size for step in range(min(size, 500))]
    else:
        candidates = [0] * 100
    for port in candidates:
        try:
            if not port:
                # A port that the kernel has chosen for a socket would not outlive let_go().
                with socket.socket(addresses(host, 0)[-1][0]) as attempt:
                    attempt.bind(("", 0))
                    port = int(attempt.getsockname()[1])  # noqa: PLW2901 - 0 is any
            return port, bind_all(port, host)
        except OSError:
            continue
    raise Refused("no port is free on this node within " + str(ports))


def addresses(host: str, port: int) -> "List[Tuple[int, Any]]":
    """Return families and addresses to listen on; all of the node's if `host` names none."""
    if host in ANY_HOST:
        both = [(socket.AF_INET, ("0.0.0.0", port)), (socket.AF_INET6, ("::", port))]  # noqa: S104
        return [(family, address) for family, address in both if has_family(family)]
    found = socket.getaddrinfo(host.strip("[]"), port, 0, socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def has_family(family: int) -> bool:
    """Whether the node has a family of addresses."""
    try:
        with socket.socket(family) as attempt:
            attempt.bind(("", 0))
    except OSError:
        return False
    return True


def bind_all(port: int, host: str) -> "List[socket.socket]":
    """Return sockets that are bound to a port, of all families; OSError if any has it already."""
    held = []  # type: List[socket.socket]
    try:
        for family, address in addresses(host, port):
            held.append(bind(family, address))
    except OSError:
        close_all(held)
        raise
    if not held:
        raise OSError("no address to listen on")
    return held


def bind(family: int, address: "Any") -> "socket.socket":
    """Return a socket that is bound to an address of one family, and of no other."""
    one = socket.socket(family)
    try:
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
    except OSError:
        one.close()
        raise
    return one


def hold_rest(port: int) -> "List[socket.socket]":
    """Return sockets that keep a server's port from others, in each family that it leaves free."""
    held = []
    for family, address in addresses("", port):
        try:
            held.append(bind(family, address))
        except OSError:  # the server's own, or a stranger's
            continue
    return held


def close_all(sockets: "List[socket.socket]") -> None:
    """Close sockets, and forget them."""
    while sockets:
        sockets.pop().close()


def strangers(port: int, proc: str = "/proc") -> "List[int]":
    """Return the accounts (uids) other than ours whose programs listen on a port."""
    found = []
    for name in ("tcp", "tcp6"):
        try:
            with open(os.path.join(proc, "net", name)) as file:
                lines = [line.split() for line in file][1:]
        except OSError:
            continue
        for words in lines:  # proc(5): local address, state (0A: LISTEN), uid
            mine = words[1].rpartition(":")[2] == "%04X" % port and words[3] == "0A"
            if mine and int(words[7]) != os.getuid():
                found.append(int(words[7]))
    return found


def is_taken(port: int) -> bool:
    """Whether another program has the port, now that our server has ended."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # it may just have been ours
        try:
            attempt.bind(("", port))
        except OSError:
            return True
    return bool(strangers(port))


def node() -> str:
    """Return the node's name, for people."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def account_here() -> "Any":
    """Return our account as the node knows it."""
    import pwd  # noqa: PLC0415

    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        known = "the node %s does not know the account with the number %d"
        raise Refused(known % (node(), os.getuid())) from None


def no_entry(path: str) -> str:
    """Return why a directory cannot be entered, in words that follow its path; empty if it can."""
    try:
        os.stat(os.path.join(path, "."))  # asks for the right to enter it, as chdir(2) does
    except FileNotFoundError:
        return "does not exist"
    except NotADirectoryError:
        return "is no directory"
    except PermissionError:
        return "cannot be entered by your account"
    except OSError as error:
        return "cannot be used (%s)" % error.strerror
    return ""


def private_directory() -> str:
    """Make a directory that only we can enter, within the job's own scratch if it has one."""
    places = (os.environ.get("_CONDOR_SCRATCH_DIR"), os.environ.get("TMPDIR"), "/tmp")  # noqa: S108 - the directory in it is ours alone
    for parent in places:
        if parent and os.path.isdir(parent):
            path = os.path.join(parent, "roost-" + os.urandom(6).hex())
            try:
                os.mkdir(path, 0o700)
            except OSError:
                continue
            return path
    raise Refused("no place for temporary files on this node")


def memory_cgroups(proc: str = "/proc", top: str = "/sys/fs/cgroup") -> "List[Tuple[str, bool]]":
    """Return where the memory of this process is counted, and whether by cgroups of version 2."""
    found = []
    try:
        with open(os.path.join(proc, "self", "cgroup")) as file:
            lines = [line.strip().split(":", 2) for line in file]
    except OSError:
        return []
    for _, controllers, path in lines:
        if controllers == "":
            found.append((top + path, True))
        elif "memory" in controllers.split(","):
            found.append((top + "/memory" + path, False))
    return found


def out_of_memory() -> "Optional[str]":
    """Return the limit in words if the kernel has killed a process of this job for it, or None."""
    for place, second in memory_cgroups():
        count = "memory.events" if second else "memory.oom_control"
        try:
            with open(os.path.join(place, count)) as file:
                killed = dict(line.split() for line in file).get("oom_kill", "0")
        except (OSError, ValueError):
            continue
        if killed != "0":
            return memory_limit(place, "memory.max" if second else "memory.limit_in_bytes")
    return None


def memory_limit(place: str, name: str) -> str:
    """Return the limit of a cgroup in words: its own, or that of the nearest above it."""
    while place != "/sys/fs":
        try:
            with open(os.path.join(place, name)) as file:
                size = file.read().strip()
        except OSError:
            break
        if size.isdigit() and int(size) < 1 << 50:  # what is not limited is huge, or "max"
            return " (limit %d MiB)" % (int(size) >> 20)
        place = os.path.dirname(place)
    return ""


def end_with_parent() -> "Callable[[], object]":
    """Return what has a child end when we do; to be called in it before its program runs.

    The server itself says so (prctl(2), PR_SET_PDEATHSIG), and in an image its parent is another.
    """
    import ctypes  # noqa: PLC0415

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, signal.SIGTERM)


def of_this_job(place: str) -> str:
    """Return the cgroup that is the job's own, at or above a place; empty if none is known to be.

    Any other may hold strangers.  Slurm's is called job_<id>, HTCondor's
    condor_<directory>_<slot>@<host>.
    """
    job = "job_" + os.environ.get("SLURM_JOB_ID", "none")
    slot = os.environ.get("_CONDOR_SLOT", "")
    parts = place.split("/")
    for number, name in enumerate(parts):
        if name == job or (slot and name.startswith("condor") and ("_" + slot + "@") in name):
            return "/".join(parts[: number + 1])
    return ""


def memory_used(proc: str = "/proc", top: str = "/sys/fs/cgroup") -> int:
    """Return the memory that this session uses, in MiB; 0 if nobody knows.

    What its cgroup counts, without the cache that the kernel would give back at once; else the sum
    of what its processes have for themselves and their shares of what they have in common.
    """
    for place, second in memory_cgroups(proc, top):
        own = of_this_job(place)
        if not own:
            continue
        count, cache = "memory.current", "inactive_file"
        if not second:
            count, cache = "memory.usage_in_bytes", "total_inactive_file"
        try:
            with open(os.path.join(own, count)) as file:
                used = int(file.read())
            with open(os.path.join(own, "memory.stat")) as file:
                used -= int(dict(line.split() for line in file).get(cache, 0))
        except (OSError, ValueError):
            continue
        return max(used, 0) >> 20
    return sum(memory_of(proc, pid) for pid in family(proc)) >> 10


def family(proc: str) -> "List[str]":
    """Return this process and all that descend from it."""
    children = {}  # type: Dict[str, List[str]]
    for pid in os.listdir(proc):
        if not pid.isdigit():
            continue
        try:
            with open(os.path.join(proc, pid, "stat"), "rb") as file:
                # The name, in brackets, may hold anything; state and parent follow it (proc(5)).
                parent = file.read().rpartition(b")")[2].split()[1].decode()
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(pid)
    found = [str(os.getpid())]
    for pid in found:
        found += children.get(pid, [])
    return found


def memory_of(proc: str, pid: str) -> int:
    """Return what a process has in memory, in KiB; of shared memory its share, if known."""
    try:
        with open(os.path.join(proc, pid, "smaps_rollup")) as file:  # Linux 4.14
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    try:
        with open(os.path.join(proc, pid, "statm")) as file:
            return int(file.read().split()[1]) * (os.sysconf("SC_PAGE_SIZE") >> 10)
    except (OSError, ValueError, IndexError):
        return 0


class Agent:
    """One session's server and what it needs to go on."""

    def __init__(self, hub: Hub, bundle: "Dict[str, Any]") -> None:
        self.hub = hub
        self.bundle = bundle
        self.directory = private_directory()
        self.token_directory = os.path.join(self.directory, "tokens")
        os.mkdir(self.token_directory, 0o700)
        self.log = os.path.join(self.directory, "server.log")
        self.token = str(bundle["env"]["JUPYTERHUB_API_TOKEN"])
        self.secrets = {"": self.token}
        self.tokens = {}  # type: Dict[str, Dict[str, Any]]
        self.status = {
            "state": "starting",
            "tokens": self.tokens,
            "ends_at": None,
            "notice": "",
            "hub": "ok",
        }  # type: Dict[str, Any]
        self.withheld = ""  # why we have none, if others could read them
        self.remarks = []  # type: List[str] # what is not as it should be on this node
        self.due = 0.0  # when to ask for fresh tokens, by our own clock
        self.life = 600.0  # seconds for which the newest tokens were good when they came
        self.lock = allocate_lock()
        self.port = 0
        self.host = ""  # the address that the hub wants the server to listen on
        self.held = []  # type: List[socket.socket]
        self.answered = 0  # the port on which the server has answered
        self.base = "/"
        self.tls = None  # type: Any
        self.grace = float(bundle.get("grace") or GRACE)
        self.ends = 0.0  # by our own clock, which nobody sets
        self.announced = 0  # the last of the notices before it
        self.end_at = 0.0  # when the server is asked to end, and when it is made to
        self.kill_at = 0.0
        self.asked_to_end = False  # by a signal: the scheduler wants the node back
        self.gone = False  # by the hub: this session is over
        self.farewell = None  # type: Any
        self.wake_end, self.wake = os.pipe()
        os.set_blocking(self.wake_end, False)
        os.set_blocking(self.wake, False)
        self.note_end(bundle)

    # tokens -----------------------------------------------------------------------------------

    def take_tokens(self, answer: "Dict[str, Any]") -> None:
        """Write the token files, and how each token stands; note when to ask for fresh ones."""
        wait = float(answer.get("again_in") or 600.0)
        tokens = dict(self.tokens)
        withheld = ""
        lives = []
        for name, token in (answer.get("tokens") or {}).items():
            value = str(token["value"])
            if self.secrets.get(name) != value:
                lives.append(float(token["expires_at"]) - time.time())
            self.secrets[name] = value
            for path in self.token_files(name):
                write_private(path, value)
            tokens[name] = {
                "expires_at": token["expires_at"],
                "state": "good",
                "missing_scopes": [],
                "message": "",
            }
            wait = min(wait, float(token["refresh_in"]))
        for name, stands in (answer.get("token_states") or {}).items():
            tokens[name] = self.judge(name, stands, tokens.get(name, {}).get("expires_at"))
            if tokens[name]["state"] == "withheld":
                withheld = tokens[name]["message"]
        if withheld != self.withheld:
            self.withheld = withheld
            self.status["notice"] = withheld or " ".join(self.remarks)
        self.life = min(lives or [self.life])
        self.due = time.monotonic() + max(wait, 1.0)
        self.tokens = tokens
        self.write_status(tokens=tokens)

    def judge(
        self, name: str, stands: "Dict[str, Any]", expires_at: "Optional[float]"
    ) -> "Dict[str, Any]":
        """Return how a token stands, as the hub says, for people on this node."""
        state = str(stands.get("state"))
        message = str(stands.get("message", ""))
        if state == "withheld":
            expires_at = None
            for path in self.token_files(name):
                if os.path.exists(path):
                    os.unlink(path)
        elif stands.get("since") and expires_at:
            late = standing(expires_at, str(stands.get("away")), float(stands["since"]))
            message = (message + " " + late).strip()
        elif state == "missing" and expires_at and expires_at > time.time():
            message = "Good until " + clock(expires_at) + ". " + message
        return {
            "expires_at": expires_at,
            "state": state,
            "missing_scopes": list(stands.get("missing_scopes") or []),
            "message": message,
        }

    def miss_hub(self, since: float) -> None:
        """Say how the tokens stand while the hub does not answer."""
        tokens = {}
        for name, token in self.tokens.items():
            end = token.get("expires_at")
            tokens[name] = dict(token)
            if end:
                tokens[name]["state"] = "retrying" if end > time.time() else "expired"
                tokens[name]["message"] = standing(end, "the hub", since)
        hub = "no fresh tokens since " + time.strftime("%H:%M:%S", time.localtime(since))
        self.tokens = tokens
        self.write_status(tokens=tokens, hub=hub)

    def left(self) -> float:
        """Return for how many seconds all tokens are good; not above 0 if one has ended."""
        ends = [token["expires_at"] for token in self.tokens.values() if token["expires_at"]]
        return min(ends) - time.time() if ends else 0.0

    def token_files(self, name: str) -> "List[str]":
        """Return where a token is written."""
        path = os.path.join(self.token_directory, name)
        return [path, self.bearer_file] if name == "default" else [path]

    @property
    def bearer_file(self) -> str:
        """The default token, where WLCG's bearer token discovery has its name from."""
        return os.path.join(self.directory, "bt_u" + str(os.getuid()))

    def write_status(self, **changes: "Any") -> None:
        """Tell programs in the session how it stands."""
        with self.lock:
            self.status.update(changes)
            try:
                write_private(os.path.join(self.directory, "status.json"), json.dumps(self.status))
            except OSError as error:
                say("could not write the status file: " + str(error))

    def keep_tokens(self) -> None:
        """Fetch fresh tokens before the old ones grow stale, for as long as the session lasts."""
        hub = self.hub.twin()
        pause, since = 1.0, 0.0
        while not self.gone:
            time.sleep(max(self.due - time.monotonic(), 0.0))
            try:
                status, answer = hub.post("tokens", {}, self.token)
                if status == 410:
                    self.gone = True
                    os.write(self.wake, b"x")
                    return
                if status == 200:
                    self.note_end(answer)
                    self.status["hub"] = "ok"
                    self.take_tokens(answer)
                    pause, since = 1.0, 0.0
                    continue
                hub.close()
                if "token_states" in answer:  # the hub answers, and can have none
                    self.status["hub"] = "ok"
                    self.take_tokens(answer)
                    since = 0.0
                else:
                    since = since or time.time()
                    self.miss_hub(since)
            except Exception as error:
                say("could not renew the tokens: " + repr(error))
            # Short lives bear short pauses only: when a token has ended, an eighth of what it had.
            left = self.left()
            most = max((left if left > 0 else self.life) / 8, 1.0)
            self.due = time.monotonic() + min(pause, most) * jitter()
            pause = min(2 * pause, 60.0)

    def tell_usage(self) -> None:
        """Tell the hub now and then how much memory the session uses.

        HTCondor's own figure is the most that it ever was, a quarter of an hour late
        (SHADOW_QUEUE_UPDATE_INTERVAL); Slurm's costs slurmctld a question for each job.
        """
        told, told_at = 0, float("-inf")
        time.sleep(USAGE_FIRST * jitter())
        while not self.gone:
            used, now = memory_used(), time.monotonic()
            news = abs(used - told) > max(32, told * USAGE_STEP) or now - told_at > USAGE_AT_LEAST
            if used and news:
                hub = self.hub.twin()
                status = hub.post("usage", {"memory_mib": used}, self.token)[0]
                hub.close()
                if status == 200:
                    told, told_at = used, now
                elif 400 <= status < 500 and status != 429:
                    return  # a hub before this call was; or the session is over, as others see too
            time.sleep(USAGE_EVERY * jitter())

    # the server -------------------------------------------------------------------------------

    def write_files(self) -> None:
        """Write the bundle's files below our own directory, for us alone."""
        for name, text in (self.bundle.get("files") or {}).items():
            path = os.path.normpath(os.path.join(self.directory, name))
            if not path.startswith(self.directory + os.sep):
                raise Refused("the bundle has a file outside of the session: " + name)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            write_private(path, text)

    def environment(self) -> "Dict[str, str]":
        """Return the server's environment: the job's, then ours, then the bundle's."""
        account = account_here()
        env = dict(os.environ)
        # WLCG bearer token discovery prefers this variable, and nobody could refresh it.
        env.pop("BEARER_TOKEN", None)
        env["HOME"] = self.usable(env.get("HOME") or account.pw_dir, self.directory)
        env.setdefault("USER", account.pw_name)
        env.setdefault("LOGNAME", account.pw_name)
        env.setdefault("SHELL", account.pw_shell or "/bin/sh")
        env["JUPYTER_RUNTIME_DIR"] = os.path.join(self.directory, "jupyter")
        env["BEARER_TOKEN_FILE"] = self.bearer_file
        env["ROOST_TOKEN_DIR"] = self.token_directory
        env["ROOST_STATUS_FILE"] = os.path.join(self.directory, "status.json")
        for name, value in self.bundle["env"].items():
            env[name] = value.replace(HERE, self.directory)
        scheme, _, rest = env["JUPYTERHUB_SERVICE_URL"].partition("://")
        address, _, base = rest.partition("/")
        host = address.rpartition(":")[0]
        env["JUPYTERHUB_SERVICE_URL"] = "%s://%s:%d/%s" % (scheme, host, self.port, base)
        self.base = "/" + base
        if self.bundle.get("takes_sockets"):
            env["ROOST_SOCKETS"] = " ".join(
                "%d:%d" % (one.family, one.fileno()) for one in self.held
            )
        programs = self.bundle.get("programs") or os.path.dirname(self.bundle["argv"][0])
        env["PATH"] = env.get("PATH") or "/usr/local/bin:/usr/bin:/bin"
        if self.bundle.get("image"):
            self.hand_over(env, programs)
        elif programs:
            env["PATH"] = programs + ":" + env["PATH"]
        return env

    def usable(self, path: str, instead: str) -> str:
        """Return a directory if we can enter it, or else another; the session is told why."""
        why = no_entry(path)
        if not why:
            return path
        sentence = "%s %s on %s: your session starts in %s instead." % (path, why, node(), instead)
        if instead == self.directory:
            sentence += " What you save there is lost when it ends."
        say(sentence)
        if sentence not in self.remarks:
            self.remarks.append(sentence)
        return instead

    def hand_over(self, env: "Dict[str, str]", programs: str) -> None:
        """Have Apptainer set what is ours in the image too, whatever that or the node says of it.

        By variables (Apptainer's user guide, "Environment and Metadata"): arguments can be read by
        others on the node.  The rest of the environment goes in by itself; ``HOME`` is an option.
        """
        ours = ["JUPYTER_RUNTIME_DIR", "BEARER_TOKEN_FILE", "ROOST_TOKEN_DIR", "ROOST_STATUS_FILE"]
        for name in ours + list(self.bundle["env"]) + ["ROOST_SOCKETS"]:
            if name in env and name != "HOME" and not name.startswith("APPTAINER"):
                env["APPTAINERENV_" + name] = env[name]
        if programs:
            env["APPTAINERENV_PREPEND_PATH"] = programs

    def command(self, home: str, where: str) -> "List[str]":
        """Return the server's command line: behind the site's prologue, and in its image, if any.

        The prologue runs on the node itself: it may be what brings Apptainer.
        """
        argv = [word.replace(HERE, self.directory) for word in self.bundle["argv"]]
        lines = [self.bundle.get("prologue") or ""]
        image = self.bundle.get("image")
        if image:
            import shlex  # noqa: PLC0415

            lines.append("command -v apptainer >/dev/null || exit %d" % NO_APPTAINER)
            if image.startswith("/"):
                lines.append("test -e %s || exit %d" % (shlex.quote(image), NO_IMAGE))
            options = ["--home", home, "--bind", self.directory, "--pwd", where]
            if not (where + os.sep).startswith(home + os.sep):
                options += ["--bind", where]
            if self.bundle.get("gpus"):
                options.append("--rocm" if os.path.exists("/dev/kfd") else "--nv")
            argv = ["apptainer", "exec"] + options + [image] + argv  # noqa: RUF005
        if not any(lines):
            return argv
        shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
        script = "\n".join(["set -e"] + lines + ['exec "$@"'])  # noqa: RUF005
        return [shell, "-c", script, "roost"] + argv  # noqa: RUF005

    def start_server(self) -> "subprocess.Popen[bytes]":
        """Start the server with its log in a file of our own.

        A server that takes our sockets never lets go of the port; any other binds it once we have.
        """
        close_all(self.held)
        url = str(self.bundle["env"]["JUPYTERHUB_SERVICE_URL"])
        self.host = url.partition("://")[2].partition("/")[0].rpartition(":")[0]
        self.port, self.held = hold_port(self.bundle.get("ports"), self.host)
        takes = self.bundle.get("takes_sockets")
        for one in self.held if takes else []:
            one.listen(1024)
            one.settimeout(0.0)
        env = self.environment()
        where = self.bundle.get("cwd") or "~"
        if where.partition("/")[0] == "~":
            where = env["HOME"] + where[1:]
        where = self.usable(where, env["HOME"])
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        log = os.open(self.log, flags, 0o600)
        if not takes:
            say(self.bundle["argv"][0] + " binds its port by itself: it is free until then")
            close_all(self.held)
        try:
            child = subprocess.Popen(
                self.command(env["HOME"], where),
                env=env,
                preexec_fn=end_with_parent() if self.bundle.get("image") else None,  # noqa: PLW1509
                cwd=where,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[one.fileno() for one in self.held],
            )
        except OSError as error:
            what, why = self.bundle["argv"][0], str(error.strerror)
            raise Refused("the program %s cannot be run on %s: %s" % (what, node(), why)) from None
        finally:
            os.close(log)
        start_new_thread(self.look_for_answer, (child, self.port))
        return child

    def let_go(self) -> None:
        """Refuse connections from now on; the port stays ours while we live.

        A socket that stops to listen keeps a port that it was bound to by number (tcp(7) does not
        say so; the kernel's ``tcp_set_state`` does, by SOCK_BINDPORT_LOCK).
        """
        for one in self.held:
            with suppress(OSError):  # it does not listen
                one.shutdown(socket.SHUT_RDWR)

    def look_for_answer(self, child: "subprocess.Popen[bytes]", port: int) -> None:
        """Wake the main loop as soon as the server answers.  In a thread: it may take long."""
        takes = self.bundle.get("takes_sockets")
        while child.returncode is None and self.port == port:
            answered = self.answers(timeout=60.0)
            if self.port != port:
                return
            if answered and not takes:
                self.held = hold_rest(port)
            if not takes and strangers(port):
                say("another account's program listens on port %d" % port)
                child.kill()
                return
            if answered:
                self.answered = port
                os.write(self.wake, b"x")
                return
            time.sleep(PROBE_EVERY if takes else 5 * PROBE_EVERY)

    def is_beaten(self) -> bool:
        """Whether another program has the port of a server that had to take it by itself."""
        return not self.bundle.get("takes_sockets") and is_taken(self.port)

    def answers(self, timeout: float = 2.0) -> bool:
        """Whether the server answers HTTP on its base URL."""
        request = "GET " + self.base + "api HTTP/1.0\r\nHost: localhost\r\n\r\n"
        try:
            plain = self.connect(timeout)
            with plain, self.secured(plain) if self.has_tls() else plain as probe:
                probe.sendall(request.encode())
                return probe.recv(16).startswith(b"HTTP/1.")
        except (OSError, ValueError):
            return False

    def connect(self, timeout: float) -> "socket.socket":
        """Return a connection to the server, by what the node has of IPv4 and IPv6."""
        if self.host not in ANY_HOST:
            return socket.create_connection((self.host.strip("[]"), self.port), timeout)
        try:
            return socket.create_connection(("127.0.0.1", self.port), timeout)
        except OSError:
            return socket.create_connection(("::1", self.port), timeout)

    def has_tls(self) -> bool:
        """Whether the server speaks TLS, and asks for a certificate."""
        return str(self.bundle["env"]["JUPYTERHUB_SERVICE_URL"]).startswith("https:")

    def secured(self, plain: "socket.socket") -> "socket.socket":
        """Return the connection under TLS, if it is our own server that listens there."""
        import ssl  # noqa: PLC0415 - there already, if the hub is reached by https

        if self.tls is None:
            # The certificate is made out to the node's name; that it is the very one that we have
            # is what counts here.
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.tls.check_hostname = False
            self.tls.verify_mode = ssl.CERT_NONE
            self.tls.load_cert_chain(self.tls_file("probe.crt"), self.tls_file("probe.key"))
        probe = self.tls.wrap_socket(plain)
        with open(self.tls_file("server.crt")) as file:
            mine = ssl.PEM_cert_to_DER_cert(file.read())
        if probe.getpeercert(binary_form=True) != mine:
            raise OSError("another server listens on port " + str(self.port))
        return probe  # type: ignore[no-any-return]

    def tls_file(self, name: str) -> str:
        """Return where a file of internal TLS is."""
        return os.path.join(self.directory, "tls", name)

    def log_tail(self) -> str:
        """Return the last lines of the server's log, without anything secret."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.path.getsize(self.log) - 8192))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        for secret in self.secrets.values():
            text = text.replace(secret, "[secret]")
        return "\n".join(text.splitlines()[-LOG_LINES:])

    # the life of it ---------------------------------------------------------------------------

    def on_signal(self, number: int, _frame: "Optional[FrameType]") -> None:
        """Note it; the main loop, woken by the wakeup descriptor, acts."""
        if number == signal.SIGTERM:
            self.asked_to_end = True

    def pause(self, seconds: float) -> None:
        """Sleep until something happens, at most `seconds`."""
        try:
            ready = select.select([self.wake_end], [], [], max(seconds, 0.0))[0]
            if ready:
                os.read(self.wake_end, 512)
        except (OSError, InterruptedError):
            pass

    def event(self, hub: Hub, body: "Dict[str, Any]", timeout: float = 5.0) -> bool:
        """Tell the hub; whether it took notice or will never do."""
        status = hub.post("event", body, self.token, timeout)[0]
        if status == 410:
            self.gone = True  # the hub itself ends the session: nothing more to tell
        return status == 200 or (400 <= status < 500 and status != 429)  # 429: ask again

    def report_ready(self) -> bool:
        """Say that the server answers; False to try again."""
        status, answer = self.hub.post("ready", {"port": self.port}, self.token)
        if status == 410:
            self.gone = True
        self.note_end(answer)
        if status not in (200, 403, 410):
            return False
        self.look_after()
        return True

    def note_end(self, answer: "Dict[str, Any]") -> None:
        """Take note of the walltime that is left, if the hub says so."""
        left = answer.get("ends_in")
        if isinstance(left, (int, float)) and left > 0:
            self.ends = time.monotonic() + left
            self.status["ends_at"] = round(time.time() + left)

    def announce(self) -> float:
        """Say in the status file that the walltime nears its end; return when to look again."""
        if not self.ends:
            return 30.0
        left = self.ends - time.monotonic()
        due = [before for before in WALLTIME_NOTICES if left <= before]
        if due and min(due) != self.announced:
            self.announced = min(due)
            notice = "Your session ends in %d minutes: its time is over then. Save your work."
            self.write_status(notice=notice % max(-(-left // 60), 1))
        return min([30.0] + [left - before for before in WALLTIME_NOTICES if left > before])

    def tell_eviction(self) -> None:
        """Tell the hub that the node is taken back.  In a thread: it must not cost the grace."""
        hub = self.hub.twin()
        while True:
            left = max(round(self.end_at - time.monotonic()), 0)
            reason = "the scheduler takes the node back"
            body = {"kind": "evicting", "reason": reason, "seconds_left": left}
            if self.event(hub, body, timeout=5.0) or not left:
                break
            time.sleep(jitter())
        hub.close()
        if self.gone:
            os.write(self.wake, b"x")

    def begin_end(self, *, ready: bool) -> None:
        """Act on SIGTERM: tell the hub, and leave people the time to save."""
        import threading  # noqa: PLC0415

        now, left = time.monotonic(), max(self.grace - TO_END, 0.0) if ready else 0.0
        self.end_at, self.kill_at = now + left, now + max(self.grace - TO_TELL, 1.0)
        self.farewell = threading.Thread(target=self.tell_eviction, daemon=True)
        self.farewell.start()
        notice = "The batch system is stopping this job: your session ends "
        notice += "in %d s. Save your work now." % left if left else "now."
        self.write_status(state="evicting", notice=notice)

    def falls(self, child: "subprocess.Popen[bytes]") -> bool:
        """Whether the signal ends the server too: Slurm sends it to every process of the job."""
        if "SLURM_JOB_ID" not in os.environ:
            return False
        try:
            child.wait(TO_FALL)
        except subprocess.TimeoutExpired:
            return not self.answers(timeout=TO_FALL)
        return True

    def end_if_due(self, child: "subprocess.Popen[bytes]", *, ready: bool) -> float:
        """End the server when it is time; return when to look again."""
        if self.asked_to_end and self.farewell is None and not self.gone:
            self.begin_end(ready=ready and not self.falls(child))
        if self.gone and not self.end_at:
            self.kill_at = time.monotonic() + self.grace - TO_TELL
        now = time.monotonic()
        if self.kill_at and now >= self.kill_at:
            child.kill()
            return 1.0
        if self.gone or (self.end_at and now >= self.end_at):
            if self.end_at >= 0:
                say("ending the server")
                child.terminate()
                self.end_at = -1.0  # once
            return self.kill_at - now
        return self.end_at - now if self.end_at else 30.0

    def run(self) -> int:
        """Run the server until it ends; return its exit status."""
        signal.set_wakeup_fd(self.wake)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, self.on_signal)
        self.write_files()
        self.take_tokens(self.bundle)
        if self.bundle.get("tokens") is None:
            self.due = time.monotonic() + 1.0  # they could not be had yet
        child = self.start_server()
        ready, others = False, OTHER_PORTS
        while True:
            if child.poll() is not None:
                if ready or self.asked_to_end or self.gone or not others or not self.is_beaten():
                    break
                # Whoever is no session of ours may take any port, a connection of its own too.
                say("another program has port %d: trying the next" % self.port)
                others -= 1
                child = self.start_server()
            wait = self.end_if_due(child, ready=ready)
            if not ready and not self.end_at:
                if self.answered == self.port:
                    ready = self.report_ready()
                    wait = 0.0 if ready else 1.0
            elif not self.end_at:
                wait = min(wait, self.announce())
            self.pause(wait)
        return self.finish(child.returncode, ready=ready)

    def look_after(self) -> None:
        """Begin what a session needs while its server runs."""
        import threading  # noqa: PLC0415

        notice = self.status["notice"] or " ".join(self.remarks)
        self.write_status(state="running", notice=notice)
        threading.Thread(target=self.keep_tokens, daemon=True).start()
        threading.Thread(target=self.tell_usage, daemon=True).start()

    def how_it_ended(self, code: int, *, ready: bool) -> str:
        """Return how the server ended, in words that follow "your session's"."""
        when = "" if ready else " before it was ready"
        if self.bundle.get("image") and not ready and code in (NO_APPTAINER, NO_IMAGE):
            missing = "Apptainer" if code == NO_APPTAINER else "image " + self.bundle["image"]
            return "the server could not start: there is no " + missing + " on this node"
        if not ready and self.is_beaten():
            return "another program on the node has taken the port of the server each time"
        if code == -signal.SIGKILL and not self.end_at:
            limit = out_of_memory()
            if limit is not None:
                return "the server ran out of memory" + limit + when
            return "the server was killed by the node" + when + "; it may have run out of memory"
        how = "signal " + str(-code) if code < 0 else "status " + str(code)
        return "the server ended with " + how + when

    def finish(self, code: int, *, ready: bool) -> int:
        """Report how the server ended."""
        self.let_go()
        if self.farewell is None and self.asked_to_end and not self.gone:
            # The batch system has sent SIGTERM to us and to the server at once.
            self.begin_end(ready=False)
        if self.farewell is not None:
            self.farewell.join(3.0)  # first things first
        if not self.gone:
            asked = self.asked_to_end
            kind = "ended" if asked or (ready and code == 0) else "failed"
            body = {"kind": kind, "reason": self.how_it_ended(code, ready=ready)}
            tail = "" if kind == "ended" else self.log_tail()
            if tail:
                body["log_tail"] = tail
            for wait in (0.5, 2.0, 4.0, 0.0):
                if self.event(self.hub, body):
                    break
                time.sleep(wait)
        return code if code >= 0 else 128 - code

    def clean(self) -> None:
        """Remove what we wrote."""
        import shutil  # noqa: PLC0415

        shutil.rmtree(self.directory, ignore_errors=True)


def main(
    api: str, session: str, ticket: str = "", connection: "Optional[HTTPConnection]" = None
) -> int:
    """Run one session in this job.

    Parameters
    ----------
    api
        Base URL of the hub's handoff interface, with a trailing slash.
    session
        The session's random id.
    ticket
        What the job's script holds where the scheduler keeps scripts from other users.
    connection
        The connection over which the bootstrap has loaded us, to save a handshake.

    Returns
    -------
    int
        Exit status for the job.
    """
    hub = Hub(api, session, connection)
    key = os.urandom(32)
    scratch = os.environ.get("_CONDOR_SCRATCH_DIR", "")
    agent = None
    try:
        if scratch and not ticket:
            publish_key_hash(key, scratch)
        bundle = take_bundle(hub, key, ticket)
        agent = Agent(hub, bundle)
        return agent.run()
    except Refused as refusal:
        say(str(refusal))
        if agent is not None:
            agent.event(agent.hub, {"kind": "failed", "reason": str(refusal)})
        return refusal.status
    except Exception as error:
        say("failed: " + repr(error))
        if agent is not None:
            reason = "the agent failed: " + type(error).__name__
            agent.event(agent.hub, {"kind": "failed", "reason": reason})
        return 70
    finally:
        if agent is not None:
            agent.clean()
