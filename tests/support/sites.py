"""Site files for tests: a short one, and one that says everything there is to say."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from testbed.layout import Site

GOOD = """\
hub_id: desy-naf
hub_url: https://hub.example.org/
announcements:
  - {text: Down on Monday, starts: 2026-12-01 08:00, ends: 2026-12-02 08:00}
defaults: {memory: 1 GiB, walltime: 8h}
watch: {moving: 2s}
clusters:
  naf:
    kind: htcondor
    collector: cm.example.org
    schedd: notebooks.example.org
    watch_token: /etc/roost/naf-read.token
    audience: https://notebooks.example.org:9618
  maxwell: {kind: slurm, broker: "https://broker.maxwell.example.org/"}
profiles:
  interactive:
    title: Interactive notebook
    cluster: naf
    overflow: [big]
    patience: 30s
    icon: rocket
  big:
    title: Big one
    cluster: naf
    slot: ordinary
    overflow: [gpu]
  gpu:
    title: One GPU
    cluster: maxwell
    gpus: 1
    gpu_type: a100
    image: /cvmfs/images/gpu.sif
"""

EVERYTHING = """\
hub_id: desy-naf.1
hub_url: http://127.0.0.1:8000/hub-prefix
ports: 40000 - 49999
share_tokens: never
watch: {moving: 5s, steady: 1m, capacity: 30s}
tokens: {default: {audience: https://dcache.example.org, scope: "storage.read:/ compute.read"}}
announcements:
  - {text: Now}
  - {text: Then, level: warning, starts: "2026-12-01 8:00", ends: 2026-12-01T18:00+01:00}
  - {text: There, starts: 2026-12-01 08:00 Europe/Berlin, ends: 2027-01-01 08:00:00 UTC}
defaults:
  cpus: {choices: [1, 2]}
  memory: {default: 1.5 GB, max: 8G}
  walltime: {choices: [90m, 12h, 1-12:00], default: 12h}
  workdir: /scratch
  patience: 1m
  groups: [/cms]
clusters:
  naf:
    kind: htcondor
    identity: user-token
    collector: cm.example.org
    schedd: notebooks.example.org
    audience: https://notebooks.example.org:9618
    watch_token: /etc/roost/naf-read.token
    python: /opt/jupyter/bin/python
    prologue: umask 077
    environment: {SITE: naf, OMP_NUM_THREADS: 4}
    ca_file: /etc/roost/ca.pem
  maxwell:
    kind: slurm
    identity: user-token
    broker: https://broker.maxwell.example.org:8443/api
    audience: broker
    python: /opt/jupyter/bin/python
    prologue: |
      source /etc/profile.d/modules.sh
      module load root
    environment: {}
    ca_file: /etc/roost/ca.pem
profiles:
  pool:
    title: Pool
    description: Two sentences. Or one.
    icon: laptop-code
    cluster: naf
    groups: []
    slot: ordinary
    cpus: "2"
    memory: 2 GiB
    walltime: 1d 12h
    overflow: [gpu]
    patience: 30s
    python: /opt/other/bin/python
    workdir: /data/all
    prologue: ""
    environment: {X: "1.10"}
    submit_commands: {+WantX: true, rank: KFlops, nice_user: 0}
    tokens: {}
    share_tokens: owner
  gpu:
    title: GPU
    cluster: maxwell
    gpus: {choices: [1, 2], default: 2}
    gpu_type: a100
    partition: gpu
    account: cms
    qos: normal
    constraint: "a100|v100"
    reservation: course_1
    image: oras://registry.example.org/gpu:1.0
    sbatch_options: {nice: 100}
    tokens: {eos: {audience: eos, scope: storage.read:/}}
  none: {title: None, cluster: maxwell, gpus: 0, image: /cvmfs/images/a.sif}
"""


SITE_FILE = "/etc/roost/site.yaml"


@asynccontextmanager
async def added_profile(testbed: Site, profile: str) -> AsyncIterator[None]:
    """Have a profile more in the site file of the testbed's running hub."""
    hub = testbed.hosts["hub"]
    before = hub.read(SITE_FILE)
    hub.write(SITE_FILE, before + profile)
    await asyncio.sleep(1.2)  # the hub looks at its date once a second
    try:
        yield
    finally:
        hub.write(SITE_FILE, before)
        await asyncio.sleep(1.2)
