"""Slurm's reason codes, in sentences for the owner of the job.  Pure.

The names are all those of ``job_state_reason_string()`` in Slurm 24.11.5 and 26.05.3
(``src/common/job_state_reason.c``; slurmrestd shows no others), the meaning is that of its page
"Job Reason Codes".  A reason that is not here is passed on as it is.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HELD = frozenset(("JobHeldAdmin", "JobHeldUser", "JobHoldMaxRequeue"))
"""With these a pending job starts only after somebody let it go."""

_SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "AccountNotAllowed": "The account that was asked for may not use this partition.",
        "AccountingPolicy": "The rules of the cluster's accounting keep the job from starting.",
        "AssociationJobLimit": "Your account has as many jobs as it may have.",
        "AssociationResourceLimit": "Your account uses as much as it may use.",
        "AssociationTimeLimit": "Your account has used up its time.",
        "BadConstraints": "No node of this cluster has what was asked for.",
        "BeginTime": "The job's begin time has not come yet.",
        "BurstBufferOperation": "The burst buffer failed.",
        "BurstBufferResources": "The burst buffer is full at the moment.",
        "BurstBufferStageIn": "The burst buffer is being filled.",
        "Cleaning": "Slurm is still cleaning up after an earlier run.",
        "Constraints": "No node with what was asked for can be used at the moment.",
        "DeadLine": "The job cannot end before its deadline.",
        "Dependency": "The job waits for another job.",
        "DependencyNeverSatisfied": "The job waits for another job that can never end well.",
        "FedJobLock": "The job waits for the other clusters of the federation.",
        "FrontEndDown": "The cluster's front end is out of service.",
        "InactiveLimit": "The job was inactive for longer than the cluster allows.",
        "InvalidAccount": "Slurm does not take the account that this job is charged to.",
        "InvalidQOS": "Slurm does not know the quality of service that was asked for.",
        "JobArrayTaskLimit": "As many jobs as may run at once are running.",
        "JobHeldAdmin": "An administrator holds the job.",
        "JobHeldUser": "The job is held at its owner's wish.",
        "JobHoldMaxRequeue": "The job was put back too often and is held.",
        "JobLaunchFailure": "The job could not be started on its node.",
        "Licenses": "The job waits for a licence.",
        "MaxMemPerLimit": "More memory was asked for than a job may have.",
        "MaxPoweredUpNodes": "As many nodes as may be switched on are on.",
        "MpiPortsBusy": "All network ports for MPI are in use.",
        "NodeDown": "A node that the job needs is down.",
        "NonZeroExitCode": "The job's program failed.",
        "NvidiaImexChannels": "All IMEX channels of the GPUs are in use.",
        "OutOfMemory": "The job used more memory than it had asked for.",
        "PartitionConfig": "The partition does not allow what was asked for.",
        "PartitionDown": "The partition is out of service.",
        "PartitionInactive": "The partition starts no jobs at the moment.",
        "PartitionNodeLimit": "The partition does not allow as much.",
        "PartitionTimeLimit": "More time was asked for than the partition allows.",
        "Priority": "Other jobs come first.",
        "Prolog": "The node is being prepared.",
        "QOSJobLimit": "As many jobs as your quality of service allows are running.",
        "QOSNotAllowed": "This quality of service may not be used here.",
        "QOSResourceLimit": "As much as your quality of service allows is in use.",
        "QOSTimeLimit": "The time that your quality of service allows is used up.",
        "QOSUsageThreshold": "Your account has used too much for this quality of service.",
        "RaisedSignal": "The job was ended by a signal.",
        "ReqNodeNotAvail": "The nodes are down, being drained, or reserved.",
        "Reservation": "The job waits for its reservation, or for the end of others' ones.",
        "ReservationDeleted": "The reservation that was asked for is gone.",
        "ReservationInvalid": "The reservation that was asked for cannot be used.",
        "Resources": "Nothing is free at the moment; yours is next.",
        "SchedDefer": "Slurm looks for a place in its next round.",
        "SystemFailure": "Slurm itself failed to start the job.",
        "TimeLimit": "The time limit was reached.",
    }
)

_LIMIT = re.compile(
    r"(?P<whose>QOS|Assoc|)(?P<kind>Grp|Max|Min)"
    r"(?P<what>CPU|Cpu|Mem(?:ory)?|Node|Jobs|SubmitJobs?|Wall(?:Duration)?|Energy|GRES|License|BB"
    r"|Billing|Unknown)"
    r"(?P<time>RunMinutes|RunMins|Minutes)?(?:Per(?P<per>Job|Node|User|Account))?"
    r"(?:Limit|NotSatisfied)?"
)
_WHAT: Mapping[str, str] = MappingProxyType(
    {
        "BB": "burst buffer",
        "Billing": "billing units",
        "CPU": "CPUs",
        "Cpu": "CPUs",
        "Energy": "energy",
        "GRES": "GPUs and other devices",
        "Jobs": "running jobs",
        "License": "licences",
        "Mem": "memory",
        "Memory": "memory",
        "Node": "nodes",
        "SubmitJob": "jobs",
        "SubmitJobs": "jobs",
        "Unknown": "a resource without a name",
        "Wall": "time",
        "WallDuration": "time",
    }
)
_UNAVAILABLE = re.compile(r"UnavailableNodes:([\w.,\[\]-]{1,200})")
_LAUNCH_FAILED = "launch failed requeued held"


def known(reason: str) -> bool:
    """Tell whether Slurm's reason code has a name here."""
    return reason in ("", "None") or reason in _SENTENCES or bool(_LIMIT.fullmatch(reason))


def sentence(reason: str, description: str = "") -> str:
    """Say why a job does not start; empty if there is nothing to say.

    Parameters
    ----------
    reason
        ``state_reason`` of slurmrestd.
    description
        ``state_description``: details in Slurm's words, often empty.
    """
    if reason in ("", "None"):
        return ""
    if launch_failed(description):
        return "The job could not be started on its node, and is held."
    if reason == "Resources" and "DOWN, DRAINED or reserved" in description:
        return _SENTENCES["ReqNodeNotAvail"]
    if description.endswith("Reserved for maintenance"):  # with one reason or another
        return "The nodes are reserved for maintenance, now or before the job would end."
    if reason == "ReqNodeNotAvail" and (found := _UNAVAILABLE.search(description)):
        return f"The nodes are down, being drained, or reserved: {found[1]}."
    return _SENTENCES.get(reason) or _limit(reason) or f"Slurm says: {reason}."


def launch_failed(description: str) -> bool:
    """Tell whether a job is held since its node could not start it (``job_mgr.c``)."""
    return description == _LAUNCH_FAILED


def _limit(reason: str) -> str:
    found = _LIMIT.fullmatch(reason)
    if found is None:
        return ""
    whose = "your account" if found["whose"] == "Assoc" else "your quality of service"
    if (found["whose"], found["kind"]) == ("Assoc", "Grp"):
        whose = "your group"
    what = _WHAT[found["what"]]
    if found["time"]:
        what += ", counted in minutes"
    if found["kind"] == "Min":
        return f"Less was asked for than {whose} demands: {what} ({reason})."
    if found["per"] in ("Job", "Node") and not found["what"].startswith("SubmitJob"):
        return f"More was asked for than {whose} allows one job: {what} ({reason})."
    per = f" per {found['per'].lower()}" if found["per"] else ""
    return f"A limit of {whose} is reached: {what}{per} ({reason})."
