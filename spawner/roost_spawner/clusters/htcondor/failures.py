"""What HTCondor's errors mean, in this package's words.  Pure.

The texts are those of HTCondor 23.9 and 25.14, as captured on real daemons.
"""

from __future__ import annotations

import re

from roost_spawner.errors import (
    ClusterError,
    ClusterRefused,
    ClusterUnreachable,
    NoJob,
    NotAuthorized,
)

_SUBMIT_REFUSED = re.compile(r"SCHEDD:\d+:(?P<said>.*)", re.DOTALL)
_OWNER = re.compile(r"Setting owner|Owner.* not permitted", re.IGNORECASE)
_TOO_MANY = re.compile(
    # The bindings only pass the schedd's number on: -3 is MAX_JOBS_PER_OWNER (seen with 23.9).
    r"MAX_JOBS_PER_OWNER|number of (submitted )?jobs.*(exceed|limit)|Schedd says -3\b",
    re.IGNORECASE,
)
_DENIED = re.compile(r"\"DENIED\"|Permission denied|not authorized", re.IGNORECASE)
# The library's own refusal, before anything is sent: the schedd is well.
_NO_JOB = re.compile(
    r"(?:Failed to create (?:a cluster|job) ad|invalid Queue statement)(?:, errmsg=)?(?P<said>.*)",
    re.DOTALL,
)
_SUBSYSTEM = re.compile(r"\b[A-Za-z]+:-?\d+:")
_SHOWN = 200
"""Characters of HTCondor's own words that a user is shown."""
_NO_IDENTITY = re.compile(r"AUTHENTICATE:100[34]|Failed to authenticate")


def connection_failed(text: str) -> bool:
    """Return whether a call failed before the schedd took anything: it is safe to repeat."""
    return "Failed to connect" in text or "Unable to locate" in text


def failure(text: str, *, cluster: str, doing: str) -> ClusterError:
    """Return the error for what HTCondor said.

    Parameters
    ----------
    text
        HTCondor's own words.  They never hold a token.
    cluster
        As the site file calls it.
    doing
        What was tried: "submit the job".
    """
    if no_job := _NO_JOB.search(text):
        said = " ".join(_SUBSYSTEM.sub("", no_job["said"]).split()) or "no reason given"
        return NoJob(
            f"HTCondor can make no job of this profile for cluster {cluster}; it said: "
            f"{said[:_SHOWN].rstrip('.')}. Tell the hub's admins.",
            detail=f"{cluster}: {text}",
        )
    return _of_the_schedd(text, cluster, doing)


def _of_the_schedd(text: str, cluster: str, doing: str) -> ClusterError:
    detail = f"{cluster}: {text}"
    if _OWNER.search(text):
        return NotAuthorized(
            f"Cluster {cluster} did not take the job: it was made out to another account than "
            "yours.",
            detail=detail,
        )
    if _DENIED.search(text):
        return NotAuthorized(
            f"Cluster {cluster} does not allow you to {doing} from here. If this has worked "
            "before, log out and in again; if not, ask its admins.",
            detail=detail,
        )
    if _NO_IDENTITY.search(text):
        return NotAuthorized(
            f"Cluster {cluster} did not accept your identity: your account may not be known "
            "there, or your login is too old. Log out and in again; if that does not help, ask "
            "its admins.",
            detail=detail,
        )
    if _TOO_MANY.search(text):
        return ClusterRefused(
            f"You have as many notebooks on cluster {cluster} as it allows; stop one first.",
            detail=detail,
        )
    refused = _SUBMIT_REFUSED.search(text)
    if refused:
        return ClusterRefused(f"Cluster {cluster} said: {refused['said'].strip()}", detail=detail)
    sentence = f"Cluster {cluster} does not answer at the moment."
    if "Unable to commit transaction" in text:
        # It went away in the middle, as it does when its disk is full: its master starts it again.
        sentence = (
            f"The access point of cluster {cluster} could not store the job; its disk may be full. "
            "Running notebooks go on. Try again in a minute, or tell its admins."
        )
    return ClusterUnreachable(sentence, detail=detail)
