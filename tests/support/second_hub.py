"""A second hub on the testbed: beside the first, with a mark, a port and databases of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from typing import TYPE_CHECKING

from testbed.layout import LOOPBACK, PLAN, REPOSITORY, SWITCH
from testbed.services import hub, iam
from testbed.services.slurm import TEST_HUB
from tests.support.ground import Ground
from tests.support.guest import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from testbed.layout import Site

PORT = 9443
URL = f"https://hub.roost.test:{PORT}"
SERVICE = "hub-second"
ETC = "/etc/roost-second"
STATE = "/var/lib/roost/second"
CONFIG = f"""
load_subconfig("{hub.SOURCE}/hub-config/jupyterhub_config.py")
c = get_config()
c.JupyterHub.hub_bind_url = "https://127.0.0.1:8082"
c.ConfigurableHTTPProxy.api_url = "https://127.0.0.1:8002"
c.ConfigurableHTTPProxy.should_start = True
"""


class SecondHub(Ground):
    """The testbed as the second hub's admin sees it: only the hub is another.

    Parameters
    ----------
    site
        The testbed, up.
    hub_id
        Its part of the session marks; one that the broker lets in.
    """

    def __init__(self, site: Site, hub_id: str = TEST_HUB) -> None:
        super().__init__(site)
        self.hub_id = hub_id
        self.service = SERVICE
        self.database = f"{STATE}/jupyterhub.sqlite"

    async def begin(self) -> None:
        """Start it; return when it answers."""
        host = self.site.hosts["hub"]
        copy = f"rm -rf {ETC}; cp -a {hub.ETC} {ETC}; install -d -o roost -m 700 {STATE}"
        await self.run("hub", "sh", "-c", copy)
        text = host.read(f"{hub.ETC}/site.yaml")
        text = re.sub(r"(?m)^hub_id: \S+", f"hub_id: {self.hub_id}", text)
        text = re.sub(r"(?m)^hub_url: \S+", f"hub_url: {URL}/", text)
        host.write(f"{ETC}/site.yaml", text, owner="roost")
        host.write(f"{ETC}/hub.py", CONFIG, owner="roost")
        await asyncio.to_thread(
            host.spawn,
            SERVICE,
            ["/opt/roost/bin/jupyterhub", "--config", f"{ETC}/hub.py"],
            user="roost",
            cwd=STATE,
            env=hub.environment(self.site, etc=ETC, state=STATE, port=PORT),
        )

        async def answers() -> bool:
            assert host.alive(SERVICE), "the second hub has ended; see its log"
            ask = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", f"{URL}/hub/health"]
            return (await self.run("hub", *ask, check=False)).strip() == "200"

        await until(answers, "the second hub answers", 60)

    async def forget_everything(self) -> None:
        """Take its database away: what it has known of sessions.  It must not run."""
        await self.run("hub", "sh", "-c", f"rm -f {self.database}*")

    async def end(self) -> None:
        """End it, its proxy too, and leave nothing of it."""
        await asyncio.to_thread(self.site.hosts["hub"].stop, SERVICE, signal_name="KILL")
        for pid in self.pids_of("hub", "configurable-http-proxy", str(PORT)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.run("hub", "rm", "-rf", ETC, STATE)


@contextlib.asynccontextmanager
async def second_hub(first: Ground, hub_id: str = TEST_HUB) -> AsyncIterator[SecondHub]:
    """Have a second hub beside the first; people reach it at :data:`URL`."""
    registered = iam.clients

    def clients(*arguments: object) -> list[dict[str, object]]:
        rows = registered(*arguments)  # type: ignore[arg-type]
        for row in rows:
            if row["client_id"] == "roost-hub":
                row["redirect_uris"] = [*row["redirect_uris"], f"{URL}/hub/oauth_callback"]  # type: ignore[misc]
        return rows

    octet = PLAN["hub"].octet
    route = f"{LOOPBACK}.{octet}:{PORT}={PLAN['hub'].address}:{PORT}"
    program = str(REPOSITORY / "testbed/forward.py")
    forward = await asyncio.create_subprocess_exec(sys.executable, "-I", program, SWITCH, route)
    second = SecondHub(first.site, hub_id)
    try:
        iam.clients = clients
        await first.stop("iam")
        await first.start("iam")
        await second.begin()
        yield second
    finally:
        iam.clients = registered
        await second.end()
        forward.terminate()
        await forward.wait()
        await first.stop("iam")
        await first.start("iam")
