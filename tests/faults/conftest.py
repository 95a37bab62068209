"""Sessions on the real pool, for faults to come over."""

from __future__ import annotations

import pytest

from testbed import lifecycle, net
from testbed.layout import PLAN
from testbed.steps import Printer
from tests.support.fleet import Fleet, page
from tests.support.ground import HTCONDOR, SLURM, Ground


@pytest.fixture(scope="session")
def ground(testbed):
    return Ground(testbed)


@pytest.fixture
async def fleet(testbed, ground, person, request):
    """No sessions yet, of alice and bob, who are logged in.  Afterwards the pool is whole again."""
    ground.furnish("alice", "bob")
    people = {name: person(name) for name in ("alice", "bob")}
    for one in people.values():
        await one.login()
    made = Fleet(ground, people)
    await made.begin()
    yield made
    print(page(made))
    for name in testbed.hosts:
        if name in PLAN and net.is_cut(name):
            net.heal(name)
    lifecycle.start_all(testbed, Printer())
    await ground.open(HTCONDOR, SLURM)
    await made.close()
