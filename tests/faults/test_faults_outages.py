"""Each service away for a while, with sessions in every state."""

from __future__ import annotations

import pytest

from tests.support.outages import KINDS, ROUNDS, UNFELT, outage

pytestmark = pytest.mark.pool


@pytest.mark.parametrize("services", ROUNDS, ids=" and ".join)
async def test_services_that_are_away_cost_no_session_and_leave_no_job(ground, fleet, services):
    kinds = tuple(dict.fromkeys(kind for service in services for kind in KINDS[service]))
    felt = not UNFELT.issuperset(services)
    await outage(ground, fleet, kinds, ground.away(*services), 8, felt=felt)


def test_every_service_has_its_turn():
    assert sorted(service for services in ROUNDS for service in services) == sorted(KINDS)
