"""How ``roost check --live`` asks what does not answer, is not there, or is another account's."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import pytest
from roost_hub.live import clusters, identity
from roost_hub.live.check import Unusable, load
from roost_hub.live.hub import of_the_pages
from roost_hub.live.verdicts import Ask, Verdict
from roost_hub.page_security import secure_pages
from roost_spawner.clusters.base import Capacity, Judgement, Resources
from roost_spawner.errors import ClusterUnreachable, NotAuthorized
from roost_spawner.site.models import HTCondorCluster, SlurmCluster
from traitlets.config import Config

pytestmark = pytest.mark.unit

SLURM = SlurmCluster(kind="slurm", broker="https://broker.example.org/")
ASK = Ask("gpu", "", Resources(1, 1024, 3600, partition="gpu"), {})
# Its payload is {"exp": 4102444800}.
IDTOKEN = "e30.eyJleHAiOiA0MTAyNDQ0ODAwfQ.x"


class Cluster:
    name = "pool"

    def __init__(self, **failures):
        self.failures = failures

    async def _answer(self, call, answer):
        failure = self.failures.get(call)
        if failure is asyncio.sleep:
            await asyncio.sleep(3600)
        if failure:
            raise failure
        return answer

    async def capacity(self):
        return await self._answer("capacity", Capacity({}))

    async def watch(self):
        return await self._answer("watch", {})

    async def judge(self, wanted, extras, *, token=None):
        return await self._answer("judge", Judgement())


async def seen(model=SLURM, within=5.0, **failures):
    return await clusters.look_at(Cluster(**failures), model, [ASK], within)


def condor(path):
    return HTCondorCluster(
        kind="htcondor", collector="cm", schedd="ap", audience="a", watch_token=path
    )


async def test_a_cluster_that_answers_is_judged():
    found = await seen()
    # The last is what no broker tells.
    assert [finding.verdict for finding in found.findings] == [Verdict.GOOD, Verdict.UNKNOWN]
    assert found.judgements == {ASK: Judgement()}


async def test_a_cluster_that_does_not_answer_in_time_is_given_up():
    found = await seen(within=0.05, capacity=asyncio.sleep)
    assert [finding.verdict for finding in found.findings] == [Verdict.BAD]
    assert "did not answer within" in found.findings[0].said
    assert found.capacity is None


async def test_a_watcher_who_may_not_read_the_queue_is_bad_though_the_capacity_is_known():
    found = await seen(watch=NotAuthorized("This identity may not watch.", detail="HTTP 403"))
    (finding,) = found.findings
    assert (finding.verdict, finding.said) == (
        Verdict.BAD,
        "This identity may not watch. (HTTP 403)",
    )
    assert "[[watchers]]" in finding.hint
    assert found.capacity is not None


async def test_a_broker_that_knows_no_check_leaves_that_part_unchecked():
    found = await seen(judge=ClusterUnreachable("It cannot be asked.", detail="HTTP 404"))
    assert [finding.verdict for finding in found.findings] == [Verdict.GOOD] + 2 * [Verdict.UNKNOWN]
    assert found.judgements == {}


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0, "cannot be read: No such file or directory"),
        (IDTOKEN, 0o644, "is open to others"),
        ("", 0o600, "holds no IDTOKEN"),
        ("\u20ac", 0o600, "cannot be read: it is no text"),
    ],
)
async def test_a_watch_token_that_is_of_no_use_is_told_before_anybody_is_asked(
    tmp_path, content, mode, said
):
    path = tmp_path / "watch.token"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    (finding,) = (await seen(condor(path), capacity=AssertionError)).findings
    assert (finding.verdict, said in finding.said) == (Verdict.BAD, True), finding


async def test_a_good_watch_token_is_told_with_its_end(tmp_path):
    path = tmp_path / "watch.token"
    path.write_text(IDTOKEN)
    path.chmod(0o600)
    found = await seen(condor(path))
    assert [finding.verdict for finding in found.findings] == [Verdict.GOOD] * 2
    assert found.findings[0].said.startswith("The watch token is good for ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("import os; os.environ['ROOST_NOT_SET']", "needs 'ROOST_NOT_SET'"),
        ("open('/etc/roost-not-there/secret')", "/etc/roost-not-there/secret cannot be read"),
        ("raise RuntimeError('a secret word')", "does not load: RuntimeError."),
        ("1 +", "does not load: SyntaxError."),
    ],
)
def test_a_configuration_that_does_not_load_is_a_sentence_without_what_it_holds(
    tmp_path, text, said
):
    path = tmp_path / "jupyterhub_config.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(Unusable) as caught:
        load(path)
    assert said in str(caught.value)
    assert "secret word" not in str(caught.value)


def test_a_configuration_is_read_as_jupyterhub_does(tmp_path):
    path = tmp_path / "jupyterhub_config.py"
    path.write_text("c = get_config()\nc.IAMOAuthenticator.issuer = 'https://iam.example.org'\n")
    assert load(path).IAMOAuthenticator.issuer == "https://iam.example.org"


async def test_a_vault_of_another_account_is_not_opened(tmp_path, monkeypatch):
    file = tmp_path / "vault.sqlite"
    shepherd = SimpleNamespace(vault_url=f"sqlite:///{file}")

    async def tried():
        found = await identity.of_a_user(SimpleNamespace(shepherd=shepherd), "x", None, {}, [])
        return found[0].said

    assert "cannot be opened: No such file" in await tried()
    assert not file.exists()
    file.touch()
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    assert "belongs to another account" in await tried()


# -- the hub's own configuration -------------------------------------------------------------------


def verdicts_of(**settings):
    c = Config()
    secure_pages(c.JupyterHub, https=True)
    c.JupyterHub.update(settings)
    return {finding.verdict: finding.said for finding in of_the_pages(c)}


def test_servers_in_the_hubs_origin_are_remarked():
    assert "share the hub's host" in verdicts_of()[Verdict.REMARK]
    own = verdicts_of(subdomain_host="https://hub.example.org")
    assert own == {Verdict.GOOD: "Users' servers have hosts below https://hub.example.org."}


def test_replaced_headers_are_bad():
    said = verdicts_of(tornado_settings={"slow_spawn_timeout": 1})[Verdict.BAD]
    assert "Content-Security-Policy" in said
