"""Slurm's services stopped and started: what the broker says meanwhile, and what survives."""

from __future__ import annotations

import re
import secrets
import time

import pytest

from testbed import lifecycle
from testbed.steps import Printer
from tests.support.broker import BrokerTalk

pytestmark = pytest.mark.pool


@pytest.fixture(scope="module")
def talk(testbed):
    return BrokerTalk(testbed)


@pytest.fixture
def mark(testbed):
    text = (testbed.repository / "hub-config/site.yaml").read_text()
    hub_id = re.search(r"^hub_id:\s*([\w.-]+)", text, re.MULTILINE)[1]
    return f"{hub_id}/{secrets.token_urlsafe(12)}"


@pytest.fixture
def stopped(testbed):
    """Stops services by name, and has them back at the end."""
    names = []

    def stop(name):
        names.append(name)
        lifecycle.stop_service(testbed, lifecycle.find_service(testbed, name))

    def start(name):
        lifecycle.start_service(testbed, lifecycle.find_service(testbed, name), Printer())

    stop.start = start
    yield stop
    for name in names:
        start(name)


@pytest.fixture
def running(talk, mark):
    wish = talk.wish("exec sleep 300", mark=mark)
    job_id = talk.ask("POST", "/v1/jobs", talk.token("alice"), wish).body["job_id"]
    token = talk.token("alice")
    talk.until(job_id, lambda job: job["state"] == ["RUNNING"], token=lambda: token)
    yield job_id
    talk.ask("DELETE", f"/v1/jobs/{job_id}", talk.token("alice"))


@pytest.mark.parametrize("service", ["slurmrestd", "slurmctld"])
def test_slurm_away_is_503_within_the_clients_patience_and_costs_no_job(
    talk, running, stopped, mark, service
):
    stopped(service)
    watcher, alice = talk.watcher(), talk.token("alice")
    for method, path, token, body in [
        ("GET", f"/v1/jobs/{running}", watcher, None),
        ("POST", "/v1/jobs", alice, talk.wish("true", mark=mark)),
        ("DELETE", f"/v1/jobs/{running}", alice, None),
    ]:
        began = time.monotonic()
        reply = talk.ask(method, path, token, body)
        assert (reply.status, reply.error) == (503, "Slurm does not answer at the moment."), reply
        assert "Retry-After: 5" in reply.headers
        assert time.monotonic() - began < 20
    assert talk.ask("GET", "/v1/health").status == 200
    stopped.start(service)
    token = talk.token("alice")
    talk.until(running, lambda job: job["state"] == ["RUNNING"], token=lambda: token)


def test_the_broker_restarted_knows_its_jobs(talk, running, stopped):
    stopped("slurm-broker")
    stopped.start("slurm-broker")
    assert talk.ask("GET", f"/v1/jobs/{running}", talk.watcher()).body["state"] == ["RUNNING"]


def test_a_job_outlives_a_restart_of_its_nodes_slurmd(talk, running, stopped):
    node = talk.ask("GET", f"/v1/jobs/{running}", talk.watcher()).body["node"].partition(".")[0]
    stopped(f"slurmd-{node}")
    time.sleep(1)
    stopped.start(f"slurmd-{node}")
    time.sleep(2)
    assert talk.ask("GET", f"/v1/jobs/{running}", talk.watcher()).body["state"] == ["RUNNING"]


def test_the_issuer_away_costs_nothing_while_its_keys_are_known(talk, running, stopped):
    token = talk.token("alice")
    assert talk.ask("GET", f"/v1/jobs/{running}", token).status == 200
    stopped("iam")
    assert talk.ask("GET", f"/v1/jobs/{running}", token).status == 200
