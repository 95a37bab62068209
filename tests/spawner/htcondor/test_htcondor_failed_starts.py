"""A node that takes a job and cannot start it, as HTCondor 23.9.6 showed it on the pool."""

from __future__ import annotations

from dataclasses import replace

import pytest
from roost_spawner.clusters.base import JobState
from roost_spawner.clusters.htcondor.states import view
from roost_spawner.clusters.htcondor.submit import description

from tests.spawner.htcondor.test_htcondor_states import ad
from tests.spawner.htcondor.test_htcondor_submit import wish

pytestmark = pytest.mark.unit

NODE = "ep2.roost.test"
BACK = {"LastRemoteHost": f"notebook2@{NODE}", "NumShadowStarts": 2, "JobStatus": 1}
STUCK = {
    "JobStatus": 2,
    "RemoteHost": f"notebook17@{NODE}",
    "NumShadowStarts": 1,
    "JobDisconnectedDate": 1796098824,
    "JobCurrentStartDate": 1796098823,
}


@pytest.mark.parametrize("shown", [BACK, STUCK])
def test_a_job_that_a_node_could_not_start_waits_and_names_the_node(shown):
    found = view(ad("idle") | shown)
    assert (found.state, found.failed_on, found.node) == (JobState.QUEUED, NODE, None)


@pytest.mark.parametrize(
    "shown",
    [
        BACK | {"NumShadowStarts": 1},  # one may be chance
        STUCK | {"JobDisconnectedDate": 1796098822},  # an earlier start's
        STUCK | {"JobCurrentStartExecutingDate": 1796098823},  # it runs, and its node is cut off
        BACK | {"NumShadowStarts": "2"},
        {},
    ],
)
def test_no_node_is_blamed_for_a_job_that_it_may_yet_start_or_has(shown):
    assert view(ad("idle") | shown).failed_on == ""


def test_a_job_is_kept_from_the_nodes_that_could_not_start_it():
    found = description(replace(wish(), avoid=("ep2.roost.test", "ep3.roost.test")))
    assert found["My.RoostAvoid"] == '{"ep2.roost.test", "ep3.roost.test"}'
    assert "member(TARGET.Machine, MY.RoostAvoid ?: {}) =!= true" in found["requirements"]
    assert "RoostAvoid" not in str(description(wish()))
    with pytest.raises(ValueError, match="job ad"):
        description(replace(wish(), avoid=('ep2", "x',)))
