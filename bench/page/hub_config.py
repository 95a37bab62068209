"""The hub that is measured: Roost's own configuration, with the gauge, and without the culler."""

import sys

sys.path.insert(0, "/srv/roost")

from roost_spawner.clusters.htcondor.channel import Channel
from roost_spawner.clusters.slurm.client import SlurmBroker

from bench.scale.gauge import GAUGE, GaugeHandler

c = get_config()  # noqa: F821 - JupyterHub provides it

load_subconfig("/srv/roost/hub-config/jupyterhub_config.py")  # noqa: F821 - likewise

c.JupyterHub.extra_handlers = [*c.JupyterHub.extra_handlers, ("/api/bench", GaugeHandler)]
c.JupyterHub.services = []
c.JupyterHub.load_roles = []

GAUGE.count(Channel, "call", "htcondor")
GAUGE.count(SlurmBroker, "_call", "slurm")
# The testbed's own is stopped meanwhile; this one goes with its hub.
c.ConfigurableHTTPProxy.should_start = True
