"""The hub that is measured: Roost's own configuration, with a crowd's limits and the gauge.

Both sides are spawners of this one hub.  Internal TLS is off for both: the crowd's servers are as
small as can be, and speak plain HTTP.
"""

import sys

sys.path.insert(0, "/srv/roost")

from roost_spawner.clusters.htcondor.channel import Channel
from roost_spawner.clusters.slurm.client import SlurmBroker

from bench.scale.gauge import GAUGE, GaugeHandler

c = get_config()  # noqa: F821 - JupyterHub provides it

load_subconfig("/srv/roost/hub-config/jupyterhub_config.py")  # noqa: F821 - likewise

c.JupyterHub.spawner_class = "bench.scale.spawners.EitherSpawner"
c.JupyterHub.extra_handlers = [*c.JupyterHub.extra_handlers, ("/api/bench", GaugeHandler)]
c.JupyterHub.internal_ssl = False
c.JupyterHub.hub_bind_url = "http://127.0.0.1:8081"
c.JupyterHub.named_server_limit_per_user = 0
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.services = []
c.JupyterHub.load_roles = []
# Few people have all these servers; see crowd.py.
c.RoostSpawner.cmd = ["/usr/bin/perl", "/home/.bench/tiny.pl"]
c.RoostSpawner.session_files = {}
c.RoostSpawner.start_timeout = c.NoopSpawner.start_timeout = 1800

GAUGE.count(Channel, "call", "htcondor")
GAUGE.count(SlurmBroker, "_call", "slurm")
# The testbed's own is stopped meanwhile; this one goes with its hub.
c.ConfigurableHTTPProxy.should_start = True
