"""How a job's life goes on the real Slurm, as the hub sees it: every wait and every end.

Each story runs against the testbed while the others do: the calm ones on one node, those that an
admin's hand comes over one after another on the other node.  The tests are what came of them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import NamedTuple

import pytest
from roost_spawner.clusters.base import Cause, JobState, JobView
from roost_spawner.errors import ClusterRefused

from testbed.services.slurm import URGENT
from tests.support.slurm import SlurmTalk

pytestmark = pytest.mark.pool

CALM, ROUGH = "cpu", "gpu"
NODES = {CALM: "gpu2", ROUGH: "gpu1"}
SLEEP = "import time; time.sleep(240)"
HOG = "b = bytearray(700 << 20); b[::4096] = b'x' * len(b[::4096]); import time; time.sleep(9)"
PATIENT = f"""
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
{SLEEP}
"""
WARNED = """
import os, signal, subprocess, sys, time
log = open(os.path.expanduser("~/warned-" + os.environ["SLURM_JOB_ID"]), "w", buffering=1)
server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
def warned(*_):
    print("the agent is warned", file=log)
    time.sleep(3)
    print("the server", "lives" if server.poll() is None else "is gone", file=log)
    server.kill()
    sys.exit(0)
signal.signal(signal.SIGTERM, warned)
server.wait()
"""
KILLED = "The node killed the job; it may have used more memory than it had asked for (256 MiB)."
stories: dict[str, list] = {CALM: [], ROUGH: []}


class Stage:
    """One partition, and what happens in it."""

    def __init__(self, talk, partition):
        self.talk, self.partition = talk, partition
        self.node = NODES[partition]
        self.admin = talk.admin

    async def start(self, code=SLEEP, *, user="bob", **wish):
        request = self.talk.wish(code, partition=self.partition, **wish)
        return await self.talk.pool.submit(request, token=await self.talk.token(user))

    async def running(self, code=SLEEP, **wish):
        job = await self.start(code, **wish)
        await self.until(job, JobState.RUNNING)
        return job

    async def until(self, job, state, good=lambda view: True, seconds=50):
        """Return the first view of a job in this state."""
        end = time.monotonic() + seconds
        while not ((view := await self.talk.pool.look(job)) and view.state is state and good(view)):
            assert time.monotonic() < end, f"not {state}: {view}"
            await asyncio.sleep(0.2)
        return view

    async def end(self, *jobs, user="bob"):
        for job in jobs:
            await self.talk.pool.cancel(job, token=await self.talk.token(user))

    async def update(self, **change):
        await self.admin(
            "scontrol", "update", *(f"{name}={value}" for name, value in change.items())
        )

    async def explain(self, job):
        return list(await self.talk.pool.explain(job))


def story(partition):
    def add(tell):
        stories[partition].append(tell)
        return tell

    return add


@pytest.fixture(scope="module")
def told(testbed):
    """Run all stories; return a function that returns what a story told, or raises what it did."""
    outcomes = {}

    async def run(tell, stage):
        try:
            outcomes[tell] = await tell(stage)
        except Exception as error:
            outcomes[tell] = error

    async def one_after_another(stage):
        for tell in stories[stage.partition]:
            await run(tell, stage)

    async def all_of_them():
        talk = SlurmTalk(testbed)
        stages = [Stage(talk, partition) for partition in stories]
        try:
            for stage in stages:
                await stage.update(partition=stage.partition, nodes=stage.node)
            calm, rough = stages
            tasks = [run(tell, calm) for tell in stories[CALM]]
            await asyncio.gather(*tasks, one_after_another(rough))
        finally:
            for stage in stages:
                await stage.update(
                    partition=stage.partition, nodes="gpu1,gpu2", state="up", PreemptMode="REQUEUE"
                )
                await stage.update(partition=stage.partition, MaxTime="24:00:00")
                resume = ("scontrol", "update", f"node={stage.node}", "state=resume")
                await talk.admin(*resume, check=False)  # refused where there is nothing to resume
            await talk.close()

    asyncio.run(all_of_them())

    def outcome(tell):
        if isinstance(outcomes[tell], Exception):
            raise outcomes[tell]
        return outcomes[tell]

    return outcome


def is_told(view, state, cause, reason):
    assert (view.state, view.cause, view.reason) == (state, cause, reason), view.detail


# -- a life without an end -------------------------------------------------------------------------


class Life(NamedTuple):
    before: float
    running: JobView
    held: JobView
    refused: str
    after_requeue: JobView
    suspended: JobView
    resumed: JobView
    stopped: JobView


@story(CALM)
async def a_life(stage):
    before = time.time()
    job = await stage.start(PATIENT)
    running = await stage.until(job, JobState.RUNNING)
    await asyncio.sleep(1)  # it has its handler
    await stage.admin("scontrol", "hold", job)
    held = await stage.talk.pool.look(job)
    refused = await stage.admin("scontrol", "requeue", job, check=False)
    after = await stage.talk.pool.look(job)
    await stage.admin("scontrol", "suspend", job)
    suspended = await stage.until(job, JobState.SUSPENDED)
    await asyncio.sleep(3)
    await stage.admin("scontrol", "resume", job)
    resumed = await stage.until(job, JobState.RUNNING)
    await stage.end(job)
    stopped = await stage.until(job, JobState.ENDED)
    return Life(before, running, held, refused, after, suspended, resumed, stopped)


def test_a_running_job_says_where_since_when_and_until_when(told, testbed):
    life = told(a_life)
    view = life.running
    is_told(view, JobState.RUNNING, None, "")
    assert (view.owner, view.slot) == ("bob", CALM)
    assert view.node == testbed.hosts[NODES[CALM]].fqdn
    assert view.started_at == pytest.approx(life.before, abs=10)
    assert view.ends_at == view.started_at + 300


def test_a_hold_on_a_running_job_changes_nothing(told):
    assert told(a_life).held.state is JobState.RUNNING


def test_a_running_job_is_not_requeued_by_an_admin_who_tries(told):
    life = told(a_life)
    assert "disabled" in life.refused
    is_told(life.after_requeue, JobState.RUNNING, None, "")


def test_a_suspended_job_says_so_and_ends_later_for_it(told):
    life = told(a_life)
    is_told(life.suspended, JobState.SUSPENDED, None, "Slurm has suspended the job.")
    is_told(life.resumed, JobState.RUNNING, None, "")
    assert life.resumed.ends_at >= life.running.ends_at + 2


def test_a_job_stopped_by_its_owner_needs_no_words(told):
    is_told(told(a_life).stopped, JobState.ENDED, Cause.REMOVED, "")


# -- ends ------------------------------------------------------------------------------------------


@story(CALM)
async def cancelled_by_an_admin(stage):
    job = await stage.running(PATIENT)
    await asyncio.sleep(3)
    await stage.admin("scancel", job)
    return await stage.until(job, JobState.ENDED)


def test_a_job_cancelled_by_an_admin_says_that_it_was_not_its_owner(told):
    sentence = "The job was cancelled by an administrator, or with scancel."
    is_told(told(cancelled_by_an_admin), JobState.ENDED, Cause.REMOVED, sentence)


@story(CALM)
async def past_its_walltime(stage):
    job = await stage.running()
    await stage.update(jobid=job, EndTime="now+1")  # a limit has whole minutes, an end has not
    return await stage.until(job, JobState.ENDED, seconds=80)  # slurmctld looks every 30 s


def test_a_job_past_its_walltime_ends_for_that_reason(told):
    sentence = "The time limit of 1 minute was reached."
    is_told(told(past_its_walltime), JobState.ENDED, Cause.WALLTIME, sentence)


@story(CALM)
async def ends_by_itself(stage):
    codes = {
        "well": "",
        "badly": "import sys; sys.exit(3)",
        "without an agent": "import sys; sys.exit(75)",
        "killed": "import os; os.kill(os.getpid(), 9)",
    }
    jobs = {name: await stage.start(code) for name, code in codes.items()}
    wish = stage.talk.wish(SLEEP, partition=stage.partition)
    launcher = dataclasses.replace(wish.launcher, python="/no/such/python")
    wish = dataclasses.replace(wish, launcher=launcher)
    jobs["without a program"] = await stage.talk.pool.submit(
        wish, token=await stage.talk.token("bob")
    )
    return {name: await stage.until(job, JobState.ENDED) for name, job in jobs.items()}


@pytest.mark.parametrize(
    ("end", "cause", "sentence"),
    [
        ("well", Cause.FINISHED, "The server has ended."),
        ("badly", Cause.FAILED, "The job failed with exit status 3."),
        (
            "without an agent",
            Cause.FAILED,
            "{node} could not load the session's agent from the hub.",
        ),
        (
            "killed",
            Cause.FAILED,
            KILLED,
        ),
        (
            "without a program",
            Cause.FAILED,
            "The profile's Python is not there, or cannot run, on {node}.",
        ),
    ],
)
def test_a_job_that_ends_by_itself_says_how(told, end, cause, sentence):
    view = told(ends_by_itself)[end]
    is_told(view, JobState.ENDED, cause, sentence.format(node=view.node))


@story(CALM)
async def out_of_memory(stage):
    host = stage.talk.site.hosts[stage.node]
    if "disabled" in host.read("/etc/slurm/cgroup-names.conf"):
        pytest.skip("no cgroups of version 1 on this machine: Slurm has no memory limits")
    child = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {HOG!r}])"
    alone = await stage.start(HOG)
    family = await stage.start(f"{child}; time.sleep(4)")
    ended = await stage.until(alone, JobState.ENDED)
    await stage.until(family, JobState.RUNNING)
    return ended, await stage.until(family, JobState.ENDED)


def test_a_job_out_of_memory_says_so_with_its_limit(told):
    alone, family = told(out_of_memory)
    sentence = "The session used more memory than it had asked for (256 MiB)."
    is_told(alone, JobState.ENDED, Cause.OUT_OF_MEMORY, sentence)
    # Slurm remembers a kernel that was killed, however the job ended long after.
    is_told(family, JobState.ENDED, Cause.OUT_OF_MEMORY, sentence)


@story(CALM)
async def put_back_by_force(stage):
    async def one(verb):
        job = await stage.running(PATIENT)
        await stage.update(jobid=job, requeue=1)
        await stage.admin("scontrol", verb, job)
        views = []
        for _ in range(20):
            views.append(await stage.talk.pool.look(job))
            await asyncio.sleep(0.2)
        await stage.end(job)
        views.append(await stage.until(job, JobState.ENDED))
        return views

    return await asyncio.gather(one("requeue"), one("requeuehold"))


def test_a_job_that_an_admin_put_back_is_never_a_session_again(told):
    for views in told(put_back_by_force):
        assert {view.state for view in views[:-1]} == {JobState.HELD}
        assert {view.cause for view in views[:-1]} == {Cause.EVICTED}
        assert "does not start a second time" in views[0].reason


@story(ROUGH)
async def preempted(stage):
    told = {}
    for mode in ("REQUEUE", "CANCEL"):
        await stage.update(partition=stage.partition, PreemptMode=mode)
        job = await stage.running(PATIENT)
        urgent = ["sbatch", "-o/dev/null", f"-p{URGENT}", "--exclusive", f"-w{stage.node}"]
        await stage.admin(*urgent, "--job-name=roost", "--wrap=sleep 1")
        views = [await stage.until(job, JobState.ENDED)]
        again = await stage.running()  # the other one is over: there is a place again
        views.append(await stage.talk.pool.look(job))
        await stage.end(again)
        told[mode] = views
    return told


@pytest.mark.parametrize("mode", ["REQUEUE", "CANCEL"])
def test_a_preempted_job_says_why_and_never_comes_back(told, mode):
    first, later = told(preempted)[mode]
    sentence = f"The node {first.node} was needed for a job that comes first."
    is_told(first, JobState.ENDED, Cause.EVICTED, sentence)
    assert later.state is JobState.ENDED


@story(ROUGH)
async def preempted_after_a_warning(stage):
    await stage.update(partition=stage.partition, GraceTime=30)
    wish = stage.talk.wish(WARNED, partition=stage.partition)
    wish = dataclasses.replace(wish, extras={"signal": "B:TERM@30"})
    job = await stage.talk.pool.submit(wish, token=await stage.talk.token("bob"))
    before = await stage.until(job, JobState.RUNNING)
    await asyncio.sleep(1)
    urgent = ["sbatch", "-o/dev/null", f"-p{URGENT}", "--exclusive", f"-w{stage.node}"]
    await stage.admin(*urgent, "--job-name=roost", "--wrap=sleep 1")
    warned = await stage.until(job, JobState.RUNNING, lambda view: view.ends_at < before.ends_at)
    ended = await stage.until(job, JobState.ENDED)
    await stage.update(partition=stage.partition, GraceTime=0)
    log = stage.talk.site.hosts[stage.node].read(f"/home/bob/warned-{job}")
    return before, warned, ended, log


def test_a_partition_with_grace_warns_the_agent_alone_and_tells_the_new_end(told):
    before, warned, ended, log = told(preempted_after_a_warning)
    assert warned.ends_at < before.ends_at - 200
    assert log == "the agent is warned\nthe server lives\n"
    assert ended.cause is Cause.EVICTED


@story(ROUGH)
async def on_a_node_that_fails(stage):
    job = await stage.running()
    await stage.update(node=stage.node, state="down", reason="test")
    view = await stage.until(job, JobState.ENDED)
    await stage.end(await stage.running())  # it came back by itself
    return view


def test_a_job_on_a_node_that_fails_names_the_node(told):
    view = told(on_a_node_that_fails)
    is_told(view, JobState.ENDED, Cause.NODE_LOST, f"The node {view.node} failed.")


# -- waits -----------------------------------------------------------------------------------------


@story(ROUGH)
async def on_a_node_that_is_drained(stage):
    first = await stage.running()
    await stage.update(node=stage.node, state="drain", reason="test")
    second = await stage.start()
    waiting = await stage.until(second, JobState.QUEUED, lambda view: view.reason)
    words, alive = await stage.explain(second), await stage.talk.pool.look(first)
    await stage.update(node=stage.node, state="resume")
    await stage.until(second, JobState.RUNNING)
    await stage.end(first, second)
    return waiting, words, alive


def test_a_drained_node_keeps_its_job_and_takes_no_other(told):
    waiting, words, alive = told(on_a_node_that_is_drained)
    sentence = "The nodes are down, being drained, or reserved."
    is_told(waiting, JobState.QUEUED, None, sentence)
    assert words == [sentence]
    is_told(alive, JobState.RUNNING, None, "")


@story(ROUGH)
async def in_a_partition_that_is_shut(stage):
    views = {}
    await stage.update(partition=stage.partition, state="down")
    job = await stage.start()
    views["down"] = await stage.until(job, JobState.QUEUED, lambda view: view.reason)
    await stage.admin("scontrol", "hold", job)
    views["held by admin"] = await stage.talk.pool.look(job)
    await stage.admin("scontrol", "release", job)
    await stage.admin("scontrol", "uhold", job)
    views["held by user"] = await stage.talk.pool.look(job)
    await stage.admin("scontrol", "release", job)
    mine = [await stage.start(user="alice") for _ in range(20)]
    with pytest.raises(ClusterRefused) as too_many:
        await stage.start(user="alice")
    await stage.end(*mine, user="alice")
    await stage.update(partition=stage.partition, state="inactive")
    good = "The partition starts no jobs at the moment."
    views["inactive"] = await stage.until(job, JobState.QUEUED, lambda view: view.reason == good)
    with pytest.raises(ClusterRefused) as inactive:
        await stage.start()
    await stage.update(partition=stage.partition, state="up")
    views["up"] = await stage.until(job, JobState.RUNNING)
    await stage.end(job)
    return views, str(too_many.value), str(inactive.value)


@pytest.mark.parametrize(
    ("when", "state", "cause", "sentence"),
    [
        ("down", JobState.QUEUED, None, "The partition is out of service."),
        ("held by admin", JobState.HELD, Cause.HELD, "An administrator holds the job."),
        ("held by user", JobState.HELD, Cause.HELD, "The job is held at its owner's wish."),
        ("inactive", JobState.QUEUED, None, "The partition starts no jobs at the moment."),
        ("up", JobState.RUNNING, None, ""),
    ],
)
def test_who_waits_for_an_admin_is_told(told, when, state, cause, sentence):
    is_told(told(in_a_partition_that_is_shut)[0][when], state, cause, sentence)


def test_who_has_as_many_as_allowed_is_told_so(told):
    _, too_many, _ = told(in_a_partition_that_is_shut)
    assert "You have 20 notebooks on this cluster; 20 are allowed" in too_many


def test_a_partition_that_takes_nothing_refuses_in_a_sentence(told):
    _, _, inactive = told(in_a_partition_that_is_shut)
    assert "The partition takes no jobs at the moment." in inactive


@story(ROUGH)
async def in_a_full_partition(stage):
    filling = await stage.running(cpus=6)
    first, second = await stage.start(cpus=4), await stage.start(cpus=4)
    next_one = await stage.until(first, JobState.QUEUED, lambda view: view.reason)
    after_it = await stage.until(second, JobState.QUEUED, lambda view: view.reason)
    words = await stage.explain(first), await stage.explain(second)
    await stage.end(filling)
    await stage.until(second, JobState.RUNNING)
    none_now = await stage.explain(second)
    await stage.end(first, second)
    return next_one, after_it, words, none_now


def test_who_waits_for_room_is_told_how_many_are_ahead(told):
    next_one, after_it, (first, second), none_now = told(in_a_full_partition)
    is_told(next_one, JobState.QUEUED, None, "Nothing is free at the moment; yours is next.")
    is_told(after_it, JobState.QUEUED, None, "Other jobs come first.")
    assert first[0] == "Nothing is free at the moment; yours is next."
    assert second[:2] == ["Other jobs come first.", "1 job ahead of yours in its partition."]
    assert none_now == []


@story(ROUGH)
async def before_a_maintenance(stage):
    name = "roost-test"
    times = ("starttime=now+2minutes", "duration=60", "users=root", "flags=maint")
    create = ["scontrol", "create", "reservation", f"reservation={name}", f"nodes={stage.node}"]
    await stage.admin(*create, *times)
    try:
        job = await stage.start()
        view = await stage.until(job, JobState.QUEUED, lambda view: view.reason)
    finally:
        await stage.admin("scontrol", "delete", f"reservation={name}")
    await stage.until(job, JobState.RUNNING)
    await stage.end(job)
    return view


def test_a_job_that_would_run_into_a_maintenance_says_so(told):
    sentence = "The nodes are reserved for maintenance, now or before the job would end."
    is_told(told(before_a_maintenance), JobState.QUEUED, None, sentence)


@story(ROUGH)
async def for_a_later_time(stage):
    await stage.update(partition=stage.partition, state="down")
    job = await stage.start()
    await stage.update(jobid=job, starttime="now+1hour")
    await stage.update(partition=stage.partition, state="up")
    words = await stage.explain(job)
    await stage.end(job)
    return words, await stage.talk.pool.look(job)


def test_when_slurm_means_to_start_a_job_is_told(told):
    words, ended = told(for_a_later_time)
    assert words[-1] == "Slurm means to start it in about 60 minutes."
    is_told(ended, JobState.ENDED, Cause.REMOVED, "")


@story(ROUGH)
async def for_longer_than_the_partition_allows(stage):
    await stage.update(partition=stage.partition, MaxTime=2)
    with pytest.raises(ClusterRefused) as refused:
        await stage.start(walltime_s=300)
    await stage.update(partition=stage.partition, MaxTime="24:00:00")
    return refused.value.sentence


def test_more_time_than_the_partition_allows_is_refused_at_once(told):
    sentence = "More time was asked for than the partition allows."
    assert told(for_longer_than_the_partition_allows) == sentence


@story(CALM)
async def of_no_use(stage):
    with pytest.raises(ClusterRefused) as refused:
        await stage.start(memory_mib=60_000)
    return str(refused.value), await stage.talk.pool.look("99999999")


def test_what_no_node_has_is_refused_with_the_largest(told):
    refused, _ = told(of_no_use)
    words = (
        "No node of partition cpu has what is asked for; the largest has 8 CPUs, 16384 MiB and 2"
    )
    assert words in refused


def test_a_job_that_never_was_has_no_fate(told):
    assert told(of_no_use)[1] is None
