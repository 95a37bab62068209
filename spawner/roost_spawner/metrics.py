"""What the spawner counts for Prometheus.  No user, session or token is named in any of it.

They show on the hub's own ``/hub/metrics``, which serves the default registry.
"""

from __future__ import annotations

from prometheus_client import Histogram

DELIVERY = Histogram(
    "roost_token_delivery_seconds",
    "Seconds from the issue of a renewed access token until a session's agent was given it",
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200),
)
