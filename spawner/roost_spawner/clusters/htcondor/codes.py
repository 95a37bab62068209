"""HTCondor's codes for why a job is held, vacated or removed, each with its cause and in words.

Sources: HTCondor manual, appendix "Job ClassAd Attributes", HoldReasonCode and VacateReasonCode
(23.9 and 25.14 have the same); those that the manual leaves out are named in the daemons' own list.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from roost_spawner.clusters.base import Cause

if TYPE_CHECKING:
    from collections.abc import Mapping

    Told = tuple[Cause, str]

_NO_ENVIRONMENT = "The container image could not be used."
_NO_CONTAINER = "The container could not be started."
_CLOUD = "The cloud that should run the job did not."
_TRANSFER = "The job's files could not be moved between node and access point."

HOLDS: Mapping[int, Told] = MappingProxyType(
    {
        1: (Cause.HELD, "Somebody put the notebook's job on hold."),
        2: (Cause.FAILED, "The grid that should run the job did not."),
        3: (Cause.HELD, "A policy of the job put it on hold."),
        4: (Cause.FAILED, "The job's credentials could not be used."),
        5: (Cause.HELD, "A policy of the job could not be evaluated."),
        6: (Cause.FAILED, "The node could not start the notebook's program."),
        7: (Cause.FAILED, "The node could not open the job's output."),
        8: (Cause.FAILED, "The node could not open the job's input."),
        9: (Cause.FAILED, "The node could not open the job's output."),
        10: (Cause.FAILED, "The node could not open the job's input."),
        11: (Cause.FAILED, _TRANSFER),
        12: (Cause.FAILED, "A file could not be brought back from the node."),
        13: (Cause.FAILED, "A file could not be brought to the node."),
        14: (Cause.FAILED, "The job's working directory is not there on the node."),
        15: (Cause.HELD, "The job was submitted on hold."),
        16: (Cause.HELD, "The job's files are being brought to the access point."),
        17: (Cause.FAILED, "The access point cannot run jobs of this kind."),
        18: (Cause.FAILED, _TRANSFER),
        19: (Cause.FAILED, "The node could not prepare the job."),
        20: (Cause.FAILED, "The job missed the time at which it should have begun."),
        21: (Cause.HELD, "A policy of the node put the job on hold."),
        22: (Cause.FAILED, "The access point could not write the job's log."),
        23: (Cause.FAILED, "The access point has no account for you."),
        24: (Cause.FAILED, "The access point cannot run jobs of this kind."),
        25: (Cause.FAILED, "The job's schedule cannot be used."),
        26: (Cause.HELD, "A policy of the access point put the job on hold."),
        27: (Cause.HELD, "A policy of the access point could not be evaluated."),
        28: (Cause.FAILED, "The node could not give the job's folder to your account."),
        29: (Cause.FAILED, "The node could not give the job's folder to your account."),
        30: (Cause.FAILED, "The node could not take the job's folder back."),
        31: (Cause.FAILED, "The node could not take the job's folder back."),
        32: (Cause.FAILED, "The job's input files are larger than allowed."),
        33: (Cause.FAILED, "The job's output files are larger than allowed."),
        34: (Cause.HELD, "The notebook used more than its slot has."),
        35: (Cause.FAILED, _NO_ENVIRONMENT),
        36: (Cause.FAILED, "The job could not be saved as it asked to be."),
        **dict.fromkeys(range(37, 43), (Cause.FAILED, _CLOUD)),
        43: (Cause.FAILED, "A script before the job failed."),
        44: (Cause.FAILED, "A script after the job failed."),
        45: (Cause.FAILED, _NO_CONTAINER),
        46: (Cause.WALLTIME, "The notebook's time was up."),
        47: (Cause.WALLTIME, "The notebook's time was up."),
        48: (Cause.FAILED, "The access point could not prepare the job."),
    }
)

RESOURCE_HOLDS = frozenset({21, 26, 34})
"""Codes of holds for what the job used; the subcode says of what."""
OUT_OF_MEMORY, OUT_OF_DISK = 102, 104
POLICY_HOLDS = frozenset({3, 21, 26})
"""Codes of holds by a policy of the job, the node or the access point, which may give its words."""
BY_HAND = 1
"""Code of a hold by condor_hold; the reason ends with who asked."""

_NEEDED = "The node was needed for other work."
_DOWN = "The node was shut down."
_FAULT = "The node had a fault."

VACATES: Mapping[int, Told] = MappingProxyType(
    {
        1000: (Cause.REMOVED, "A policy of the job ended it."),
        1001: (Cause.REMOVED, "A policy of the access point ended it."),
        1002: (Cause.FAILED, "Its access point had a fault."),
        1003: (Cause.FAILED, "The job could not be started on its node."),
        1004: (Cause.EVICTED, "Its owner or an admin took it off its node."),
        # What 23.9 gives for most: a job that ended at the node's SIGTERM.
        1005: (Cause.EVICTED, ""),
        1006: (Cause.FAILED, "The job could not be started on its node."),
        1007: (Cause.NODE_LOST, _FAULT),
        1008: (Cause.NODE_LOST, "The node was out of reach for too long."),
        1009: (Cause.EVICTED, ""),
        1010: (Cause.EVICTED, "An admin took it off its node."),
        1011: (Cause.EVICTED, _NEEDED),
        1012: (Cause.NODE_LOST, _FAULT),
        1013: (Cause.EVICTED, _DOWN),
        1014: (Cause.EVICTED, "The node is being drained by an admin."),
        1015: (Cause.EVICTED, _NEEDED),
        1016: (Cause.EVICTED, _DOWN),
        1017: (Cause.EVICTED, "The node was given back."),
        1018: (Cause.EVICTED, _NEEDED),
        1019: (Cause.EVICTED, _NEEDED),
    }
)

EVICTED = "The notebook was taken off its node, and does not start a second time."

OVERSTAYED: tuple[str, Told] = (
    "Roost: walltime over",
    (Cause.WALLTIME, "The notebook's time was up."),
)
"""What the access point says, or the node if that did not end the job; and what it means."""
# Parts of a RemoveReason.  The first ones are what the access point that we ship writes, then the
# hub's own.
REMOVALS: tuple[tuple[str, Told], ...] = (
    OVERSTAYED,
    ("Roost: not started in time", (Cause.REMOVED, "No slot became free in time.")),
    ("PeriodicRemove", (Cause.WALLTIME, "The notebook's time was up, or its job could not go on.")),
    ("stopped in JupyterHub", (Cause.REMOVED, "")),
)
