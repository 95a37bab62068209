"""Whether a cluster holds what the shipped configuration promises, as far as it says so.  Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from roost_spawner.nodes import host_of

from roost_hub.live.verdicts import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ACCESS_POINT = ("MyAddress", "RoostProtectedJobAttrs", "RoostSubmitters")
"""What is read of an access point's own ad."""
SLOT = ("Name", "Machine", "RoostMountUnderScratch")
"""What is read of the ad of a reserved slot."""
_MUST = (
    "RemoteHost",
    "StartdPrincipal",
    "GlobalJobId",
    "JobUniverse",
    "EnteredCurrentStatus",
    "JobCurrentStartDate",
    "QDate",
)
"""What limits and routes go by."""
_POINT = "20-access-point.conf"
_NODE = "20-execute-point.conf"


def of_access_point(about: str, ad: Mapping[str, Any]) -> list[Finding]:
    """Judge an access point by its own ad (:data:`ACCESS_POINT`)."""
    return [
        _protected(about, ad.get("RoostProtectedJobAttrs")),
        _submitters(about, ad.get("RoostSubmitters")),
        _port(about, ad.get("MyAddress")),
    ]


def _silent(about: str, what: str, file: str) -> Finding:
    said = f"{what} is not told."
    return Finding(about, Verdict.UNKNOWN, said, f"{file} as shipped tells it; copy the new one.")


def _protected(about: str, told: Any) -> Finding:
    if not isinstance(told, str):
        return _silent(
            about, "What jobs may not write into their ads (PROTECTED_JOB_ATTRS)", _POINT
        )
    names = set(re.split(r"[\s,]+", told.lower()))
    missing = [name for name in _MUST if name.lower() not in names]
    if not missing:
        said = "Jobs cannot write what their limits and routes go by (PROTECTED_JOB_ATTRS)."
        return Finding(about, Verdict.GOOD, said)
    said = f"A job can write {', '.join(missing)} in its own ad, and so undo its limits."
    return Finding(about, Verdict.BAD, said, f"Add them to PROTECTED_JOB_ATTRS ({_POINT}).")


def _submitters(about: str, told: Any) -> Finding:
    if not isinstance(told, str) or not told.strip():
        return _silent(about, "From where notebooks may be submitted (ROOST_SUBMITTERS)", _POINT)
    entries = [entry for entry in re.split(r"[\s,]+", told) if entry]
    open_ = [entry for entry in entries if _anywhere(entry)]
    if not open_:
        said = f"Notebooks are submitted from {', '.join(entries)} alone (ROOST_SUBMITTERS)."
        return Finding(about, Verdict.GOOD, said)
    said = f"Notebooks may be submitted from any address ({', '.join(open_)} in ROOST_SUBMITTERS)."
    hint = "Write the hub as a network of two addresses at the least, such as /31 or /127."
    return Finding(about, Verdict.BAD, said, hint)


def _anywhere(entry: str) -> bool:
    """Whether HTCondor lets every address in: it does for a single one, too (23.9)."""
    _, slash, place = entry.partition("/")
    if not slash or place == "*":
        return True
    if re.fullmatch(r"(\d+\.){1,3}\*", place):
        return False
    try:
        network = ipaddress.ip_network(place.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return True  # a host's name
    return network.num_addresses == 1 or network.prefixlen == 0


def _port(about: str, told: Any) -> Finding:
    address = told if isinstance(told, str) else ""
    host = host_of(address)
    port = re.match(r"<[^?>]*:(\d+)[?>]", address)
    if not host or port is None:
        return Finding(about, Verdict.UNKNOWN, "The access point does not tell where it listens.")
    where = f"{host} port {port[1]}"
    if host.startswith("127.") or host == "::1":
        hint = "Set NETWORK_INTERFACE on the access point."
        return Finding(about, Verdict.BAD, f"The access point tells others {where}.", hint)
    if "sock=" not in address:
        said = f"The access point listens at {where}, which changes when it is restarted."
        hint = "USE_SHARED_PORT = true gives it one port, for which a firewall can have a rule."
        return Finding(about, Verdict.REMARK, said, hint)
    said = f"The access point has one port for all: {where}. Let the hub and the nodes reach it."
    return Finding(about, Verdict.GOOD, said)


def of_nodes(about: str, slots: Iterable[Mapping[str, Any]]) -> Finding:
    """Judge the nodes by the ads of their reserved slots (:data:`SLOT`)."""
    silent, shared, good = set(), set(), set()
    for ad in slots:
        told, node = ad.get("RoostMountUnderScratch"), str(ad.get("Machine", "?"))
        if not isinstance(told, str):
            silent.add(node)
        elif {"/tmp", "/var/tmp"} <= set(re.split(r"[\s,]+", told)):  # noqa: S108 - named, not used
            good.add(node)
        else:
            shared.add(node)
    if shared:
        said = f"Jobs share /tmp with everybody on {_some(shared)} (MOUNT_UNDER_SCRATCH)."
        hint = f"MOUNT_UNDER_SCRATCH = /tmp, /var/tmp ({_NODE}) gives each job its own."
        return Finding(about, Verdict.BAD, said, hint)
    if silent or not good:
        where = f" on {_some(silent)}" if silent else ""
        return _silent(
            about, f"Whether jobs have a /tmp of their own{where} (MOUNT_UNDER_SCRATCH)", _NODE
        )
    said = "Each job has a /tmp and /var/tmp of its own (MOUNT_UNDER_SCRATCH)."
    return Finding(about, Verdict.GOOD, said)


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def of_slurm(about: str) -> Finding:
    """Say what a broker cannot tell: slurmrestd does not show Slurm's configuration."""
    said = "Whether users see each other's jobs (PrivateData) is not told by slurmrestd."
    hint = "On the controller: scontrol show config | grep PrivateData; jobs should be in it."
    return Finding(about, Verdict.UNKNOWN, said, hint)
