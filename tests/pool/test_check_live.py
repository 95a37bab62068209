"""``roost check --live`` as an admin types it on the hub's host."""

from __future__ import annotations

import asyncio
import re

import pytest
import yaml

from testbed import lifecycle
from testbed.services.hub import ETC, HOME
from testbed.steps import Printer
from tests.support.ground import Ground
from tests.support.guest import until

pytestmark = pytest.mark.pool

CONFIG = "/srv/roost/hub-config/jupyterhub_config.py"
SITE = "/tmp/roost-check.yaml"


@pytest.fixture
def check(testbed):
    hub = testbed.hosts["hub"]
    good = (testbed.repository / "hub-config/site.yaml").read_text()

    def check(*options, change=None, config=CONFIG):
        """Check the site file with some settings changed; return the exit status and the rows."""
        site = yaml.safe_load(good)
        for place, value in (change or {}).items():
            *above, name = place.split(".")
            part = site
            for step in above:
                part = part[step]
            part[name] = value
        hub.write(SITE, yaml.safe_dump(site, sort_keys=False))
        done = hub.run(
            ["/opt/roost/bin/roost", "check", SITE, "--live", "--config", config, *options],
            user="roost",
            env={
                "HOME": HOME,
                "PATH": "/usr/bin:/bin",
                "PYTHONDONTWRITEBYTECODE": "1",
                "ROOST_ETC": ETC,
                "ROOST_STATE": HOME,
                "ROOST_IAM_ISSUER": testbed.issuer,
            },
            check=False,
            timeout=120,
        )
        said = done.stdout + done.stderr
        assert not re.search(r"eyJ[\w-]{5,}", said), "something like a token is shown"
        assert "Traceback" not in said
        return done.returncode, said

    yield check
    hub.run(["rm", "-f", SITE])


def bad(said):
    """Return what the rows that failed are about, with all that they say."""
    found = {}
    for line in said.splitlines():
        row = re.split(r"  +", line)
        if len(row) == 3 and row[1] == "BAD":
            found[row[0]] = f"{found.get(row[0], '')} {row[2]}".strip()
    return found


async def test_all_is_good_and_a_users_own_tokens_are_taken(check, person):
    alice = person("alice")
    await alice.login()
    status, said = check("--user", "alice")
    assert (status, bad(said)) == (0, {}), said
    for about in ("cluster pool", "cluster cluster", "profile interactive", "profile gpu"):
        assert re.search(rf"^{about} +good ", said, re.MULTILINE), said
    assert len(re.findall(r"good +It takes the user's own token", said)) == 2
    for knob in ("PROTECTED_JOB_ATTRS", "ROOST_SUBMITTERS", "MOUNT_UNDER_SCRATCH"):
        assert re.search(rf"^cluster pool +good .*\({knob}\)", said, re.MULTILINE), said
    assert re.search(
        r"^cluster pool +good +The access point has one port for all", said, re.MULTILINE
    )
    assert re.search(r"^cluster cluster +not checked .*PrivateData", said, re.MULTILINE)
    assert re.search(r"^hub +good .*internal TLS", said, re.MULTILINE)
    assert re.search(r"user alice, token default +good +A token with storage.modify:/", said)


def test_what_can_never_start_is_named_with_what_there_is(check):
    status, said = check(
        change={
            "profiles.interactive.memory": "64 GiB",
            "profiles.gpu.walltime": {"default": "1h", "max": "2d"},
        }
    )
    assert status == 1
    found = bad(said)
    assert set(found) == {"profile interactive", "profile gpu, walltime: 2d"}
    slots = "No slot has 1 core and 64 GiB; the largest has 1 core and 1280 MiB."
    assert found["profile interactive"] == slots
    gpu = found["profile gpu, walltime: 2d"]
    assert "allowed here is a whole number from 1 to 1440 ([limits] of the broker)" in gpu
    assert "A session here lasts 1d at the longest; 2d are asked for." in gpu


def test_a_partition_that_is_not_handed_out_is_named_with_those_that_are(check):
    status, said = check(change={"profiles.gpu.partition": "night"})
    assert status == 1
    assert "allowed here is one of gpu, cpu" in bad(said)["profile gpu"]


def test_a_partition_that_is_down_is_told(check, testbed):
    controller = testbed.hosts["ctl"]
    controller.run(["scontrol", "update", "partitionname=cpu", "state=down"])
    try:
        # Nobody else asks for this partition: what the broker knows of it is of now.
        lifecycle.stop_service(testbed, lifecycle.find_service(testbed, "slurm-broker"))
        lifecycle.start_service(testbed, lifecycle.find_service(testbed, "slurm-broker"), Printer())
        status, said = check(change={"profiles.gpu.partition": "cpu"})
    finally:
        controller.run(["scontrol", "update", "partitionname=cpu", "state=up"])
    assert status == 1
    assert bad(said)["profile gpu"] == "The partition is out of service."


def test_a_broker_that_is_away_is_told_and_the_rest_is_still_checked(check, testbed):
    broker = lifecycle.find_service(testbed, "slurm-broker")
    lifecycle.stop_service(testbed, broker)
    try:
        status, said = check()
    finally:
        lifecycle.start_service(testbed, broker, Printer())
    assert status == 1
    assert set(bad(said)) == {"cluster cluster"}
    assert "does not answer" in bad(said)["cluster cluster"]
    assert re.search(r"^profile gpu +not checked ", said, re.MULTILINE)
    assert re.search(r"^profile interactive +good ", said, re.MULTILINE)


async def test_a_wrong_audience_is_found(check, person):
    alice = person("alice")
    await alice.login()
    status, said = check(
        "--user",
        "alice",
        change={
            "clusters.pool.audience": "https://dcache.roost.test",
            "clusters.cluster.audience": "https://other.example.org",
        },
    )
    assert status == 1
    found = bad(said)
    assert {"cluster cluster", "user alice, cluster pool", "user alice, cluster cluster"} <= set(
        found
    )
    assert "did not accept your identity" in found["user alice, cluster pool"]


def test_a_watch_token_that_cannot_be_read_and_a_user_whom_nobody_knows_are_told(check):
    status, said = check("--user", "nobody-here", change={"clusters.pool.watch_token": "/none"})
    assert status == 1
    assert "cannot be read: No such file" in bad(said)["cluster pool"]
    assert bad(said)["user nobody-here"] == "The vault holds nothing of nobody-here."


def test_a_configuration_that_does_not_load_is_a_sentence(check):
    status, said = check(config="/etc/roost/none.py")
    assert status == 1
    assert "cannot be read: No such file or directory" in said


async def test_a_pool_that_gives_no_slot_away_is_said_to_start_nothing(check, testbed, alice):
    ground = Ground(testbed)
    said: list[str] = []

    async def card():
        _, told = await alice.api("GET", "roost/v1/profiles")
        return next(one for one in told["profiles"] if one["name"] == "interactive")

    async def never():
        return "negotiator for notebooks is not there" in str(await card())

    async def listen():
        async for event in alice.progress():
            said[len(said) :] = [event.get("message", "")]

    async def told():
        return any("negotiator for notebooks is not there" in line for line in said)

    await ground.stop("negotiator-nb")
    try:
        await until(never, "the card says so", 60)
        assert "Starts now" not in str(await card())
        await alice.click({"profile": "interactive"})
        page = asyncio.create_task(listen())
        await until(told, f"the pending page says so: {said}", 60)
        assert not any("Yours is the next" in line for line in said)
        status, rows = await asyncio.to_thread(check)
        assert status == 1
        assert "negotiator for notebooks is not there" in bad(rows)["profile interactive"]
    finally:
        await ground.start("negotiator-nb")
    await asyncio.wait_for(page, 60)
    assert (await alice.api("GET", "users/alice"))[1]["servers"][""]["ready"]
    # The access point is another daemon: what the collector shows as free does not start without.
    async with ground.away("schedd"):

        async def away():
            return "does not answer" in str(await card())

        await until(away, "the card says that the access point is away", 90)
        assert "Starts now" not in str(await card())
