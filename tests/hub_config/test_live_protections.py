"""What ``roost check --live`` makes of an access point's and a slot's own ads."""

from __future__ import annotations

import pytest
from roost_hub.live import protections
from roost_hub.live.hub import of_internal_tls
from roost_hub.live.verdicts import Verdict
from traitlets.config import Config

pytestmark = pytest.mark.unit

GOOD, BAD, UNKNOWN, REMARK = Verdict.GOOD, Verdict.BAD, Verdict.UNKNOWN, Verdict.REMARK
ADDRESS = "<192.0.2.1:9618?addrs=192.0.2.1-9618&alias=ap&noUDP&sock=schedd_1_2>"
PROTECTED = (
    "RemoteHost, StartdPrincipal GlobalJobId jobstatus JobUniverse EnteredCurrentStatus "
    "JobCurrentStartDate QDate"
)


def of(**ad):
    return protections.of_access_point("cluster pool", ad)


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        (PROTECTED, GOOD),
        (PROTECTED.replace("RemoteHost", "LastRemoteHost"), BAD),
        ("", BAD),
        (None, UNKNOWN),
        (3, UNKNOWN),
    ],
)
def test_an_access_point_is_good_only_if_it_says_that_it_protects_all(told, verdict):
    assert of(RoostProtectedJobAttrs=told)[0].verdict is verdict


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        ("*@example.org/192.0.2.18/31", GOOD),
        ("*@example.org/192.0.2.18/31, *@example.org/198.51.100.0/28", GOOD),
        ("*@example.org/2001:db8::2/127", GOOD),
        ("*@example.org/192.0.2.*", GOOD),
        # HTCondor 23.9 takes each of these for every address.
        ("*@example.org/192.0.2.18", BAD),
        ("*@example.org/192.0.2.18/32", BAD),
        ("*@example.org/hub.example.org", BAD),
        ("*@example.org", BAD),
        ("*", BAD),
        ("*/*", BAD),
        ("*@example.org/0.0.0.0/0", BAD),
        ("*@example.org/192.0.2.18/31 *@example.org/192.0.2.20", BAD),
        ("", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_submitters_that_are_everybody_are_found(told, verdict):
    assert of(RoostSubmitters=told)[1].verdict is verdict


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        (ADDRESS, GOOD),
        ("<192.0.2.1:40123?addrs=192.0.2.1-40123&noUDP>", REMARK),
        (ADDRESS.replace("192.0.2.1", "127.0.0.1"), BAD),
        ("nonsense", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_where_an_access_point_listens_is_told(told, verdict):
    assert of(MyAddress=told)[2].verdict is verdict


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        (["/tmp, /var/tmp"], GOOD),
        (["/var/tmp,/tmp,/dev/shm", "/tmp /var/tmp"], GOOD),
        (["/tmp, /var/tmp", "/tmp"], BAD),
        (["/tmp, /var/tmp", ""], BAD),
        (["/tmp, /var/tmp", None], UNKNOWN),
        ([], UNKNOWN),
    ],
)
def test_nodes_are_good_only_if_each_gives_its_jobs_a_tmp_of_their_own(told, verdict):
    ads = [{"Machine": f"ep{i}", "RoostMountUnderScratch": words} for i, words in enumerate(told)]
    assert protections.of_nodes("cluster pool", ads).verdict is verdict


def test_what_slurmrestd_does_not_tell_is_not_called_good():
    assert protections.of_slurm("cluster gpus").verdict is UNKNOWN


@pytest.mark.parametrize(("on", "verdict"), [(True, GOOD), (False, REMARK), (None, REMARK)])
def test_a_hub_without_internal_tls_is_told(on, verdict):
    settings = Config()
    if on is not None:
        settings.JupyterHub.internal_ssl = on
    assert of_internal_tls(settings).verdict is verdict
