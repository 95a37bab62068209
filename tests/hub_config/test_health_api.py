"""The hub's health and metrics, as a monitor sees them."""

from __future__ import annotations

import pytest
from roost_shepherd.health import Health

pytestmark = pytest.mark.hub

HEALTH = "api/roost/v1/health"


async def test_a_monitor_needs_no_login(hub):
    hub.shepherd.health = lambda: Health(good=True, sentences=("Tokens are renewed in time.",))
    code, answer = await hub.fetch("GET", HEALTH, token=None)
    assert code == 200
    assert answer == {"status": "good", "because": ["Tokens are renewed in time."]}


async def test_it_is_red_when_tokens_are_not_looked_after(hub):
    hub.shepherd.health = lambda: Health(good=False, sentences=("The renewals are stuck.",))
    code, answer = await hub.fetch("GET", HEALTH, token=None)
    assert code == 503
    assert answer["because"] == ["The renewals are stuck."]


async def test_the_hubs_own_metrics_show_the_shepherds(hub):
    code, answer = await hub.fetch("GET", "metrics")
    assert code == 200
    for name in ("roost_grants", "roost_renewals_total", "roost_token_seconds_to_expiry_at_use"):
        assert name in answer["text"]
