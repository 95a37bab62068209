"""The hosts' names for programs of this machine.

The machine's ``/etc/hosts`` has them for the first testbed only; a program that is to find another
says so here.
"""

from __future__ import annotations

import socket
from typing import Any

from testbed.layout import DOMAIN, LOOPBACK, NAME, PLAN


def find_the_named_testbed() -> None:
    """Let the hosts' names lead to the testbed that ROOST_TESTBED_NAME names, in this process."""
    if NAME == "roost":
        return
    usual = socket.getaddrinfo
    near = {f"{name}.{DOMAIN}": f"{LOOPBACK}.{plan.octet}" for name, plan in PLAN.items()}

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        return usual(near.get(host, host), *arguments, **options)

    socket.getaddrinfo = getaddrinfo
