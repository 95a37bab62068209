"""What Slurm's error numbers come to.  Pure.

Numbers and meanings are those of ``slurm_errno.h`` and ``slurm_errno.c`` in Slurm 24.11.5 and
26.05.3, which are alike here.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from roost_spawner.clusters.slurm.broker.errors import (
    BadRequest,
    BrokerError,
    JobNotFound,
    NoSuchAccount,
    NoSuchNode,
    NotReached,
    SchedulerFailed,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

SUBMIT = "job/submit"
ALREADY_DONE = 2021  # ESLURM_ALREADY_DONE

_SLURM_ERROR = -1
"""What a job submit plugin returns that gives no number: nothing else answers a submit with it."""

_AWAY = "Slurm does not answer at the moment."
_REFUSED = range(2000, 4000)
_KINDS: tuple[tuple[Container[int], type[BrokerError], str], ...] = (
    (
        (
            2017,  # ESLURM_INVALID_JOB_ID
            2137,  # ESLURM_INVALID_JOB_ID_ZERO
            2139,  # ESLURM_INVALID_JOB_ID_TOO_LARGE
        ),
        JobNotFound,
        "Slurm has no such job.",
    ),
    (
        (2014,),  # ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE
        NoSuchNode,
        "No node has what is asked for.",
    ),
    (
        # Nothing was taken: no connection, too many calls, or not the controller in charge.
        (
            1800,  # SLURMCTLD_COMMUNICATIONS_CONNECTION_ERROR
            1804,  # SLURMCTLD_COMMUNICATIONS_BACKOFF
            1805,  # SLURMCTLD_COMMUNICATIONS_HARD_DROP
            2027,  # ESLURM_IN_STANDBY_MODE
            2131,  # ESLURM_IN_STANDBY_USE_BACKUP
        ),
        NotReached,
        _AWAY,
    ),
    (
        (
            2019,  # ESLURM_WRITING_TO_FILE
            2020,  # ESLURM_TRANSITION_STATE_NO_UPDATE
        ),
        Unavailable,
        _AWAY,
    ),
    (
        (2045,),  # ESLURM_INVALID_ACCOUNT
        NoSuchAccount,
        "Slurm does not know the account that was asked for, or it is not yours.",
    ),
    (
        (
            1007,  # SLURM_PROTOCOL_AUTHENTICATION_ERROR
            6000,  # ESLURM_AUTH_CRED_INVALID
        ),
        SchedulerFailed,
        "Slurm does not take the broker's token.",
    ),
    # Communication with slurmctld, and the protocol.
    (range(1801, 2000), Unavailable, _AWAY),
    (range(5000, 6000), Unavailable, _AWAY),
)
_SENTENCES: Mapping[int, str] = MappingProxyType(
    {
        2000: "Slurm has no such partition.",
        2002: "Slurm does not allow this to your account.",
        2003: "Your groups may not use this partition.",
        2007: "Slurm has as many jobs as it takes; try again later.",
        2015: "More was asked for than the partition allows.",
        2029: "The nodes of this cluster do not have the features that were asked for.",
        2040: "The licences that were asked for are not there.",
        2048: "Slurm does not know the licences that were asked for.",
        2050: "Your account or its quality of service does not allow this, or not as much.",
        2051: "More time was asked for than the partition allows.",
        2052: "The reservation that was asked for is for others.",
        2053: "Slurm does not know the reservation that was asked for.",
        2056: "The reservation that was asked for cannot be used now.",
        2066: "Slurm does not know the quality of service that was asked for, or it is not yours.",
        2068: "The nodes are down, being drained, or reserved.",
        2070: "The partition takes no jobs at the moment.",
        2072: "This cluster has no GPUs like those that were asked for.",
        2101: "The partition is out of service.",
        2105: "The cluster takes no jobs at the moment.",
        2118: "The nodes are reserved for maintenance.",
    }
)


def error_of(errors: Sequence[Mapping[str, Any]], what: str) -> BrokerError | None:
    """Return what an answer's errors amount to; None if what was wanted is so already.

    Parameters
    ----------
    errors
        Those of slurmrestd's answer.
    what
        Which call it was.
    """
    first = next((item for item in errors if item.get("error_number")), errors[0])
    found = first.get("error_number")
    number = found if isinstance(found, int) else 0
    words = str(first.get("error") or first.get("description") or "no reason given")[:200]
    detail = f"{what}: Slurm error {number}: {words}"
    if number == ALREADY_DONE:
        return None
    for numbers, kind, sentence in _KINDS:
        if number in numbers:
            return kind(sentence, detail=detail)
    if (number, what) == (_SLURM_ERROR, SUBMIT):
        detail += "; if slurmctld has a job submit plugin, its words are in slurmrestd's log"
        return BadRequest("The cluster's own rules refuse this job.", detail=detail)
    if number in _REFUSED:
        said = _SENTENCES.get(number) or f"Slurm refused: {words}."
        return BadRequest(said, detail=detail)
    return SchedulerFailed("Slurm could not do it.", detail=detail)
