"""Questions that readiness checks ask of a service."""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING

from testbed.layout import FORWARDED, LOOPBACK, PLAN

if TYPE_CHECKING:
    from testbed.layout import Folders


def https_status(folders: Folders, host: str, path: str) -> int | None:
    """Return the status that a forwarded host answers with, as seen from the machine."""
    context = ssl.create_default_context(cafile=folders.ca_certificate)
    name = f"{host}.roost.test"
    address = f"{LOOPBACK}.{PLAN[host].octet}"
    connection = http.client.HTTPSConnection(address, FORWARDED[host], timeout=5, context=context)
    context.check_hostname = False  # asked by address here; people ask by name
    try:
        connection.request("GET", path, headers={"Host": f"{name}:{FORWARDED[host]}"})
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()
