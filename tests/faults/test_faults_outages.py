"""Each service away for a while, with sessions in every state."""

from __future__ import annotations

import pytest

from tests.support.outages import KINDS, outage

pytestmark = pytest.mark.pool


@pytest.mark.parametrize("service", KINDS)
async def test_a_service_that_is_away_costs_no_session_and_leaves_no_job(ground, fleet, service):
    await outage(ground, fleet, KINDS[service], ground.away(service), 20)
