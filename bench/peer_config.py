"""A stock JupyterHub with one of the peers' spawners, as the documentation of each has it."""

import os
import sys

import batchspawner
from batchspawner.api import BatchSpawnerAPIHandler
from roost_spawner.clusters.htcondor.submit import REQUEST_DISK

c = get_config()  # noqa: F821 - JupyterHub provides it

PEER = os.environ["PEER"]
PORT = int(os.environ["PEER_PORT"])

# batchspawner registers its callback when it is imported, and Roost, which is installed here too,
# takes that away: its own is the only way in.
c.JupyterHub.extra_handlers = [("/api/batchspawner", BatchSpawnerAPIHandler)]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = f"http://:{PORT}/"
c.JupyterHub.hub_bind_url = f"http://0.0.0.0:{PORT + 100}"
c.JupyterHub.hub_connect_url = f"http://peers.roost.test:{PORT + 100}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{PORT + 200}"
c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0.3}  # as Roost's own hub
c.Spawner.default_url = "/lab"
# A form, so that a start is the same click for all.
c.Spawner.options_form = "<p>One notebook</p>"
c.Spawner.start_timeout = 180

if PEER == "local":
    c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
    c.Spawner.cmd = ["/opt/jupyter/bin/jupyterhub-singleuser"]
else:
    c.JupyterHub.spawner_class = "batchspawner.CondorSpawner"
    c.CondorSpawner.exec_prefix = f"runuser -u {{username}} -- env {os.environ['PEER_CLIENT']}"
    c.Spawner.cmd = ["/opt/jupyter/bin/jupyterhub-singleuser"]
    c.CondorSpawner.batchspawner_singleuser_cmd = (
        "env PYTHONPATH=/home/.peers /opt/jupyter/bin/python -m batchspawner.singleuser"
    )
    c.CondorSpawner.req_memory = "1024"
    c.CondorSpawner.req_nprocs = "1"
    notebooks = os.environ["PEER_QUICK"] == "True"
    # As little disk as Roost asks for: the slots for notebooks share it.
    c.CondorSpawner.req_options = f"request_disk = {REQUEST_DISK}\n" + (
        "+IsRoostNotebook = true" if notebooks else ""
    )

if os.environ["PEER_CROWD"] == "True":
    sys.path.insert(0, "/srv/roost")
    from bench.scale.gauge import GAUGE, GaugeHandler

    GAUGE.count(batchspawner.CondorSpawner, "query_job_status", "condor_q")
    c.JupyterHub.extra_handlers = [*c.JupyterHub.extra_handlers, ("/api/bench", GaugeHandler)]
    c.JupyterHub.allow_named_servers = True
    c.JupyterHub.concurrent_spawn_limit = 0
    c.Spawner.start_timeout = 1800
    # Tells its port and answers; the rest of the command line is for a notebook.
    c.CondorSpawner.batchspawner_singleuser_cmd = "perl /home/.bench/tiny.pl --report"
