"""What a running job may write into its own ad: nothing that a limit or a rule goes by."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from roost_spawner.clusters.base import Cause, JobState

from tests.support.chirp import write_own_ad

pytestmark = pytest.mark.pool

SLEEP = "import time; time.sleep(240)"
POISON = '"roost-test"'

# A new name that a job can write belongs into one of these with its reason, or into
# ROOST_PROTECTED (hub-config/htcondor/20-access-point.conf).
HARMLESS = {
    "The job's proof, which is the job's own to write.": "RoostKeyHash",
    "Figures of what it used, which its shadow writes as its owner: shown, never judged.": """
        BytesRecvd BytesSent BlockReadKbytes BlockReads BlockWriteKbytes BlockWrites
        CommittedSlotTime CommittedSuspensionTime CommittedTime CumulativeRemoteSysCpu
        CumulativeRemoteUserCpu CumulativeSlotTime CumulativeSuspensionTime CumulativeTransferTime
        DiskUsage DiskUsage_RAW ExecutableSize ExecutableSize_RAW ImageSize ImageSize_RAW
        IOWait LastSuspensionTime MemoryUsage NetworkInputMb NetworkOutputMb NumCkpts NumCkpts_RAW
        NumJobCompletions NumJobReconnects NumRestarts ProportionalSetSizeKb RemoteSysCpu
        RemoteUserCpu RemoteWallClockTime ResidentSetSize ResidentSetSize_RAW ScratchDirFileCount
        StatsLifetimeStarter TotalSuspensions TransferInputSizeMB CpusProvisioned CpusUsage
        ActivationSetupDuration
        DiskProvisioned MemoryProvisioned GPUsProvisioned ProvisionedResources TransferInputStats
        TransferOutputStats""",
    "Whether it began, which its shadow writes: who undoes it runs a second time when evicted, "
    "and gets nothing, since the hub hands out no second bundle.": """
        NumJobStarts JobCurrentStartExecutingDate JobCurrentFinishTransferInputDate
        JobCurrentFinishTransferOutputDate JobCurrentStartTransferInputDate
        JobCurrentStartTransferOutputDate NumHolds NumSystemHolds LastRemoteHost
        LastRemoteWallClockTime LastVacateTime JobDisconnectedDate JobLastStartDate""",
    "Its status, which its shadow writes when it is suspended: a job that calls itself idle, held "
    "or ended is removed for that, and its node has a clock of its own.": "LastJobStatus",
    "Words and codes of an end, which the shadow writes: told to its owner alone, and what the "
    "schedd does itself it writes anew.": """
        ExitBySignal ExitCode ExitReason ExitSignal ExitStatus HoldReason HoldReasonCode
        HoldReasonSubCode LastHoldReason LastHoldReasonCode LastHoldReasonSubCode
        LastRejMatchReason LastRejMatchTime OnExitRemoveReason PeriodicRemoveReason RemoveReason
        VacateReason VacateReasonCode VacateReasonSubCode LeaveJobInQueueReason TerminationPending
        JobCoreDumped""",
    "When the node last heard of its access point: how often it tried since, "
    "and how often it is told: the lease is the node's own.": """
        LastJobLeaseRenewal JobCurrentReconnectAttempt _condor_JOBINFO_MAXINTERVAL""",
    "About the node it is on, copied there for people to read.": """
        CondorPlatform CondorVersion SubmitVersion MachineAttrCpus0 MachineAttrSlotWeight0""",
    "For grouping in condor_q and for HTCondor's own book-keeping of jobs that are not matched any "
    "more; a job is matched once.": """
        AutoClusterAttrs AutoClusterId JobBatchName JobCoolDownExpiration JobMaxRetries
        JobSubmitMethod NumRetries OrigMaxHosts SuccessExitCode TotalSubmitProcs WantGracefulRemoval
        TargetType MyType""",
    "No rule has heard of it.": "RoostTestNobodyReadsThis GroupId",
}
# Attributes of the manual's appendix that a job's ad does not have from the start.
MORE = """
    AllowedExecuteDuration AllowedJobDuration Args ClaimId ConcurrencyLimits CronMinute DAGManJobId
    DAGManNodesLog DeferralTime EmailAttributes Env ExitCode ExitSignal GridResource GroupId
    HoldKillSig HoldReason HoldReasonCode HoldReasonSubCode HookKeyword JobCoolDownExpiration
    JobMaterializeLimit JobMaxRetries JobStatusOnRelease KeepClaimIdle KillSig KillSigTimeout
    LastHoldReason LastHoldReasonCode LastRejMatchReason LeaveJobInQueueReason MaxJobRetirementTime
    NiceUser NoopJob NotifyUser NumHolds NumRetries OnExitRemoveReason OutputDestination
    PeriodicRemoveReason PostArgs PostCmd PreArgs PreCmd RemoteHost RemoveKillSig RemoveReason
    RequestGPUs RoostKeyHash RoostTestNobodyReadsThis SpoolOnEvict StageInFinish StageInStart
    StreamErr StreamIn StreamOut SuccessExitCode TimerRemove TransferInput TransferOutput
    TransferOutputRemaps UserLog VacateReason VacateReasonCode WantGracefulRemoval X509UserProxy
"""
# The queue answers with these anew, whatever was written.
COMPUTED = {"ServerTime"}


async def until(talk, job_id, good, seconds):
    end = time.monotonic() + seconds
    while True:
        view = await talk.pool.look(job_id)
        if view is not None and good(view):
            return view
        assert time.monotonic() < end, f"job {job_id} is not as wanted: {view}"
        await asyncio.sleep(0.1)


async def running(talk, site, walltime_s):
    """Start a job of mallory's that runs; return its id and its node."""
    wish = talk.wish(SLEEP, walltime_s=walltime_s)
    job_id = await talk.pool.submit(wish, token=talk.token("alice"))
    view = await until(talk, job_id, lambda view: view.state is JobState.RUNNING, 30)
    return job_id, site.hosts[view.node.partition(".")[0]]


def ad_of(site, job_id):
    (found,) = json.loads(site.hosts["ap"].run(["condor_q", job_id, "-json"]).stdout)
    return found


async def test_a_job_writes_nothing_into_its_ad_that_anybody_goes_by(talk, testbed):
    job_id, node = await running(talk, testbed, 45)
    began = (await talk.pool.look(job_id)).started_at
    before = ad_of(testbed, job_id)
    names = sorted({*before, *MORE.split()} - COMPUTED - {"JobStatus"})
    write_own_ad(node, "alice", [(name, POISON) for name in names])
    write_own_ad(node, "alice", [("jobcurrentstartdate", "4000000000")])  # names have no case
    after = ad_of(testbed, job_id)
    written = {name for name in names if after.get(name) == "roost-test"}
    assert "RoostKeyHash" in written
    harmless = {name for group in HARMLESS.values() for name in group.split()}
    assert written <= harmless, f"a job may write {sorted(written - harmless)}"
    assert after["JobCurrentStartDate"] == before["JobCurrentStartDate"]
    # It goes on, is shown where it is, and ends when its time is up.
    view = await talk.pool.look(job_id)
    assert view.state is JobState.RUNNING
    assert view.node == node.fqdn
    write_own_ad(node, "alice", [("JobStatus", "99")])  # its shadow must be able to
    over = await until(talk, job_id, lambda view: view.cause is Cause.WALLTIME, 100)
    assert over.detail.startswith("Roost: walltime over")
    assert time.time() - began > 40


NEVER = "SYSTEM_PERIODIC_REMOVE_RoostWalltime = false\n"


@pytest.mark.long
async def test_a_node_ends_what_its_access_point_would_let_run_for_ever(talk, testbed):
    hosts = [testbed.hosts[name] for name in ("ap", "ep1", "ep2")]
    file = "/etc/condor/config.d/95-test.conf"
    try:
        for host in hosts:
            text = NEVER if host.name == "ap" else "ROOST_MAX_WALLTIME = -90\n"
            host.write(file, text)
            host.run(["condor_reconfig"])
        job_id, _ = await running(talk, testbed, 20)
        view = await until(talk, job_id, lambda view: view.cause is not None, 90)
        assert "Roost: walltime over" in view.detail
        assert (view.cause, view.reason) == (Cause.WALLTIME, "The notebook's time was up.")
    finally:
        for host in hosts:
            host.run(["rm", "-f", file])
            host.run(["condor_reconfig"])
