"""From a wish to a submit description.  Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from roost_spawner.clusters.base import SlotClass
from roost_spawner.clusters.htcondor import commands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roost_spawner.clusters.base import JobRequest

VACATE_TIME = 30
"""Seconds between SIGTERM and SIGKILL that a session asks for."""
REQUEST_DISK = "16MB"
"""HTCondor's default is 1 GiB, which a node that overbooks does not have for each slot: the slots
share what is there, and a notebook writes to the user's home."""
_ATTRIBUTE = re.compile(r"(?:\+|my\.)([A-Za-z_][A-Za-z0-9_]*)", re.IGNORECASE)
# Attributes that would undo what we say with commands, or what the access point decides.
_OUR_ATTRIBUTES = re.compile(
    r"roost.*|isroostnotebook|want(?:remoteupdates|ioproxy)|owner|user|ntdomain|requirements|"
    r"cmd|args|arguments|env|environment|iwd|in|out|err|jobstatus|jobuniverse|leavejobinqueue|"
    r"(?:periodic|onexit).*|.*vacate.*|joblease.*|auth.*|acct.*|accounting.*|transfer.*|"
    r"requestcpus|requestmemory|requestgpus|x509.*|filesystemdomain|numjobstarts|"
    r"jobcurrentstart.*|clusterid|procid|.*notify.*|.*hook.*|.*script.*",
    re.IGNORECASE,
)
_MARK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}/[A-Za-z0-9_-]{8,64}")


def description(request: JobRequest) -> dict[str, str]:
    """Return the submit description of one session, as htcondor2 takes it.

    No file is transferred, and none is taken from a shared file system: the job starts at once
    (HTCondor waits a second around each transfer) and loads what it needs from the hub.

    Parameters
    ----------
    request
        A validated wish.

    Returns
    -------
    dict
        Submit commands (``condor_submit`` manual page).  Nothing of it is a secret.
    """
    if not _MARK.fullmatch(request.mark):
        raise ValueError(f"not a session mark: {request.mark!r}")
    wish = request.resources
    found = {
        "universe": "vanilla",
        "executable": request.launcher.python,
        "transfer_executable": "false",
        "arguments": quoted_arguments(["-I", "-c", one_line(request.launcher.code)]),
        "batch_name": "notebook",
        "initialdir": "/",  # where nobody can put a file
        "output": "/dev/null",
        "error": "/dev/null",
        "should_transfer_files": "NO",
        "request_cpus": str(wish.cpus),
        "request_memory": str(wish.memory_mib),
        "request_disk": REQUEST_DISK,
        "requirements": _requirements(request),
        "periodic_remove": _ends(wish.walltime_s),
        "job_max_vacate_time": str(VACATE_TIME),
        "My.RoostHub": _string(request.hub_id),
        "My.RoostSession": _string(request.mark),
        "My.RoostWalltime": str(wish.walltime_s),
        # The channel by which the job proves itself: it may write to its own ad, no more.
        "My.WantRemoteUpdates": "true",
        "My.WantIOProxy": "false",
    }
    if request.avoid:
        nodes = ", ".join(map(_string, request.avoid))
        found["My.RoostAvoid"] = f"{{{nodes}}}"
    if wish.gpus:
        found["request_gpus"] = str(wish.gpus)
    if wish.slot is SlotClass.RESERVED:
        found["My.IsRoostNotebook"] = "true"
    if wish.account:
        found["accounting_group"] = wish.account
    for name, value in request.extras.items():
        if problem := extras_problem({name: value}):
            raise ValueError(problem)
        if name.lower() == "requirements":
            found["requirements"] += f" && ({value})"
        else:
            attribute = _ATTRIBUTE.fullmatch(name)
            found[f"My.{attribute[1]}" if attribute else name.lower()] = value
    return found


def extras_problem(extras: Mapping[str, str]) -> str | None:
    """Return what is wrong with raw submit commands of a profile, in a sentence; None if nothing.

    Parameters
    ----------
    extras
        Submit commands (``condor_submit`` manual page) and ``+Attribute`` or ``My.Attribute``,
        by name.
    """
    seen: set[str] = set()
    for name, value in extras.items():
        key = re.sub(r"^(\+|my\.)", "my.", name.lower())
        if key in seen:
            return f"{name} is given twice; HTCondor knows no upper and lower case"
        seen.add(key)
        if problem := _name_problem(name):
            return problem
        if not value.strip() or not value.isprintable() or "$" in value:
            return f"the value of {name} must be one line without macros ($)"
        if problem := commands.problem(name, value):
            return problem
        if key == "requirements" and not _balanced(value):
            return f"the parentheses and quotes of {name} do not match: {value!r}"
    return None


def _name_problem(name: str) -> str | None:
    attribute, known = _ATTRIBUTE.fullmatch(name), commands.EXTRA_COMMANDS
    if attribute is None and name.lower() not in known:
        return (
            f"{name} cannot be set here; allowed are {', '.join(sorted(known))}, "
            "and attributes as +Name"
        )
    if attribute is not None and _OUR_ATTRIBUTES.fullmatch(attribute[1]):
        return f"the attribute {attribute[1]} is set by the hub or the access point"
    return None


def _balanced(expression: str) -> bool:
    """Whether an expression in parentheses stays one: nothing in it closes them."""
    depth, quoted, escaped = 0, "", False
    for letter in expression:
        if escaped:
            escaped = False
        elif quoted:
            escaped = letter == "\\"
            quoted = "" if letter == quoted else quoted
        elif letter in "\"'":
            quoted = letter
        elif letter in "()":
            depth += 1 if letter == "(" else -1
            if depth < 0:
                return False
    return depth == 0 and not quoted and "//" not in expression and "/*" not in expression


def _requirements(request: JobRequest) -> str:
    # Naming FileSystemDomain keeps HTCondor from adding that it be the submitter's own, which is
    # what lets a job run without file transfer where nothing is shared.
    terms = [
        "TARGET.FileSystemDomain isnt undefined",
        # An evicted notebook must not come back as a second session.  NumJobStarts alone is told
        # to the queue late.
        "(MY.NumJobStarts ?: 0) == 0",
        "MY.JobCurrentStartExecutingDate is undefined",
    ]
    if request.avoid:
        terms.append("member(TARGET.Machine, MY.RoostAvoid ?: {}) =!= true")
    if request.resources.slot is SlotClass.RESERVED:
        terms.insert(0, "TARGET.RoostSlot =?= true")
    return " && ".join(terms)


def _ends(walltime: int) -> str:
    # The access point that we ship has the same rules and does not leave them to the submitter.
    return (
        f"(JobStatus == 2 && time() - JobCurrentStartDate > {walltime}) || "
        "(JobStatus == 5 && time() - EnteredCurrentStatus > 60) || "
        "(JobStatus == 1 && JobCurrentStartExecutingDate isnt undefined)"
    )


def _string(value: str) -> str:
    if not value.isprintable() or set(value) & set('"\\$'):
        raise ValueError(f"not fit for a string of a job ad: {value!r}")
    return f'"{value}"'


def one_line(code: str) -> str:
    """Return Python source of one line that does the same: a submit command has one line."""
    return code if code.isprintable() else f"exec({code!r})"


def quoted_arguments(words: Sequence[str]) -> str:
    """Return a value of the submit command ``arguments`` that gives the job exactly `words`.

    The "new syntax" of the ``condor_submit`` manual page: all in double quotes, each word with
    white space or quotes in single quotes, quotes doubled.

    Raises
    ------
    ValueError
        If a word holds what HTCondor would still replace at match time, or a line break.
    """
    found = []
    for word in words:
        if re.search(r"\$\$[(\[]", word) or not word.isprintable():
            raise ValueError("arguments hold $$( or a character that cannot be printed")
        if word and not re.search(r"[\s'\"]", word):
            found.append(word)
        else:
            found.append("'" + word.replace("'", "''") + "'")
    text = " ".join(found).replace('"', '""')
    # Macros are replaced in the whole description: a literal dollar is a macro of its own.
    return '"' + text.replace("$", "$(DOLLAR)") + '"'
