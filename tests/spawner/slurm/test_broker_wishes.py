"""What the broker lets through, and what it makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roost_spawner.clusters.slurm.broker import wishes
from roost_spawner.clusters.slurm.broker.accounts import Account
from roost_spawner.clusters.slurm.broker.config import Limits
from roost_spawner.clusters.slurm.broker.errors import BadRequest

pytestmark = pytest.mark.unit

LIMITS = Limits(
    partitions=("gpu", "cpu"), minutes=600, cpus=4, memory_mib=8192, gpus=2, gpu_types=("a100",)
)
GOOD = {
    "script": "#!/bin/sh\nexec true\n",
    "mark": "hub/abcdefgh",
    "partition": "gpu",
    "cpus": 1,
    "memory_mib": 1024,
    "time_minutes": 60,
}
ALICE = Account("alice", 2001, "/home/alice", "/bin/bash")


def test_a_good_wish_becomes_a_job_of_one_node_that_never_comes_back():
    wish = wishes.read(GOOD | {"gpus": 2, "gpu_type": "a100"}, LIMITS)
    job = wishes.submission(wish, ALICE)["job"]
    assert job["name"] == "roost"
    assert job["comment"] == "hub/abcdefgh"
    assert (job["nodes"], job["tasks"], job["requeue"]) == ("1", 1, False)
    assert job["tres_per_node"] == "gres/gpu:a100:2"
    assert job["time_limit"] == {"set": True, "number": 60}
    assert not {"account", "qos", "constraints", "reservation"} & job.keys()


def test_the_environment_is_the_accounts_and_nothing_else():
    job = wishes.submission(wishes.read(GOOD, LIMITS), ALICE)["job"]
    names = {item.partition("=")[0] for item in job["environment"]}
    assert names == {"PATH", "HOME", "SHELL", "USER", "LOGNAME", "LANG"}
    assert "HOME=/home/alice" in job["environment"]


def test_a_list_of_partitions_that_are_handed_out_is_taken():
    wish = wishes.read(GOOD | {"partition": "gpu,cpu"}, LIMITS)
    assert wishes.submission(wish, ALICE)["job"]["partition"] == "gpu,cpu"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"partition": "secret"}, "partition is 'secret'; allowed here is one of gpu, cpu"),
        ({"partition": "gpu,secret"}, "partition is 'gpu,secret'"),
        ({"partition": "gpu,"}, "partition is 'gpu,'"),
        ({"partition": None}, "partition is missing"),
        ({"cpus": 5}, "from 1 to 4"),
        ({"cpus": 0}, "cpus is '0'"),
        ({"cpus": True}, "cpus is 'True'"),
        ({"cpus": "1"}, "cpus is '1'"),
        ({"cpus": 1.5}, "cpus is '1.5'"),
        ({"memory_mib": 9000}, "from 1 to 8192"),
        ({"time_minutes": 601}, "from 1 to 600"),
        ({"gpus": 3}, "from 0 to 2"),
        ({"gpus": -1}, "from 0 to 2"),
        ({"gpu_type": "a100"}, "gpu_type without gpus"),
        ({"gpus": 1, "gpu_type": "h100"}, "one of a100"),
        ({"account": "other"}, "allowed here is none"),
        ({"qos": "high"}, "allowed here is none"),
        ({"reservation": ["x"]}, "allowed here is none"),
        ({"script": "id"}, "starts with #!/"),
        ({"script": "#!/bin/sh\n\0"}, "starts with #!/"),
        ({"script": "#!/bin/sh\n" + "x" * wishes.MAX_SCRIPT}, "up to"),
        ({"script": 1}, "starts with #!/"),
        ({"mark": "hub"}, "session mark"),
        ({"mark": "hub/abc"}, "session mark"),
        ({"mark": "hub/abcdefgh\n"}, "session mark"),
        ({"mark": "a b/abcdefgh"}, "session mark"),
        ({"user": "root"}, "There is no field user"),
        ({"environment": ["LD_PRELOAD=x"]}, "There is no field environment"),
        ({"array": "0-9"}, "There is no field array"),
    ],
)
def test_anything_else_is_refused_with_a_sentence_that_names_it(change, words):
    with pytest.raises(BadRequest) as caught:
        wishes.read(GOOD | change, LIMITS)
    assert words in caught.value.sentence


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_no_body_of_another_kind_gets_through_or_breaks_it(body):
    with pytest.raises(BadRequest):
        wishes.read(body, LIMITS)


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "gpus", "gpu_type", "qos"]),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
    )
)
def test_whatever_is_accepted_is_within_the_limits(change):
    try:
        wish = wishes.read(GOOD | change, LIMITS)
    except BadRequest:
        return
    assert wish.partition in LIMITS.partitions
    assert 1 <= wish.cpus <= LIMITS.cpus
    assert 1 <= wish.memory_mib <= LIMITS.memory_mib
    assert 1 <= wish.time_minutes <= LIMITS.minutes
    assert 0 <= wish.gpus <= LIMITS.gpus
    assert wish.qos is None


def test_the_script_with_its_ticket_does_not_show_in_a_repr():
    wish = wishes.read(GOOD | {"script": "#!/bin/sh\nticket"}, LIMITS)
    assert "ticket" not in repr(wish)
