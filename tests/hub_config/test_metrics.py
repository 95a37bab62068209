"""What Prometheus sees of a real hub, and whether the names keep its rules.

The rules are those of prometheus.io, "Metric and label naming", and of ``promtool check metrics``.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from roost_hub import startup
from roost_shepherd.metrics import show_grants
from roost_spawner import metrics
from roost_spawner.clusters.base import Capacity, Pool, Use
from roost_spawner.starts import REASONS, Phase

pytestmark = pytest.mark.hub

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference/metrics.md"
MONITORING = ROOT / "docs/how-to/monitoring.md"
DASHBOARD = ROOT / "hub-config/grafana/roost.json"
HERE = {"profile": "interactive", "cluster": "pool"}
NO_BASE_UNIT = re.compile(
    r"_(ms|milliseconds|minutes?|hours?|days?|kb|mb|gb|kib|mib|gib|percent)(_|$)"
)


@pytest.fixture
async def engine(hub):
    use = Use(cores_busy=0.5, cores_real=8)
    hub.pool.has = Capacity({"reserved": Pool(40, 12, 0, 0, unit="slots", waiting=3, use=use)})
    hub.gpus.has = Capacity({"gpu": Pool(64, 20, 4, 1)})
    return await startup.begin(hub.app, Path(hub.app.config.RoostSpawner.site_file))


@pytest.fixture
def scrape(hub, engine):
    """Return a function that returns our families by name."""

    async def ask():
        code, answer = await hub.fetch("GET", "metrics")
        assert code == 200
        families = text_string_to_metric_families(answer["text"])
        ours = (one for one in families if one.name.startswith("roost_"))
        return {one.name: one for one in ours if not one.name.endswith("_created")}

    return ask


def value(families, name, **labels):
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) <= 1, f"{name}{labels} is there twice"
    return found[0] if found else None


async def test_the_names_keep_prometheus_rules(scrape):
    for name, family in (await scrape()).items():
        assert family.documentation, name
        assert family.type in {"counter", "gauge", "histogram"}, name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
        assert not NO_BASE_UNIT.search(name), f"{name} has no base unit"
        assert not re.search(r"_(total|count|sum|bucket|gauge|counter|histogram)$", name), name
        if family.type == "histogram":
            assert name.endswith(("_seconds", "_bytes")) or "_seconds_" in name, name
        if family.type == "counter":
            assert {sample.name for sample in family.samples} <= {f"{name}_total"}
        for sample in family.samples:
            for label in sample.labels:
                assert re.fullmatch(r"[a-z][a-z0-9_]*", label)


async def test_no_label_is_open(scrape, hub):
    hub.pool.run_for_real = True
    session = await hub.spawn(user="alice")
    assert (await hub.settled(user="alice"))["ready"]
    allowed = {"profile", "cluster", "state", "outcome", "reason", "phase", "cause", "to", "pool"}
    allowed |= {"unit", "le"}
    for family in (await scrape()).values():
        for sample in family.samples:
            assert set(sample.labels) <= allowed
            assert not {"alice", session.record.id, "127.0.0.1"} & set(sample.labels.values())


async def test_what_can_be_counted_is_there_before_it_happens(scrape):
    families = await scrape()
    for reason in set(REASONS) - {"stopped", "overflow"}:
        found = value(families, "roost_starts_total", **HERE, outcome="failed", reason=reason)
        assert found is not None, reason
    for phase in Phase:
        name = "roost_start_phase_seconds_count"
        assert value(families, name, **HERE, phase=phase) is not None
    assert value(families, "roost_sessions", **HERE, state="running") == 0
    assert value(families, "roost_session_ends_total", **HERE, cause="evicted") is not None


async def test_a_session_is_shown_where_it_stands(scrape, hub):
    await hub.submitted()
    assert value(await scrape(), "roost_sessions", **HERE, state="queued") == 1


async def test_a_cluster_that_does_not_answer_is_shown(scrape, hub, engine):
    await engine.watcher("gpus").look()
    hub.pool.down = True
    await engine.watcher("pool").look()
    families = await scrape()
    assert value(families, "roost_cluster_reachable", cluster="pool") == 0
    assert value(families, "roost_cluster_reachable", cluster="gpus") == 1
    assert value(families, "roost_cluster_queries_total", cluster="pool") >= 1


async def test_capacity_is_shown_and_a_scrape_asks_for_it_once_in_a_while(scrape, hub, engine):
    assert (
        value(await scrape(), "roost_pool_free", cluster="pool", pool="reserved", unit="slots")
        is None
    )
    await engine.capacity("pool").look(1)
    for _ in range(3):
        families = await scrape()
    place = {"cluster": "pool", "pool": "reserved"}
    assert value(families, "roost_pool_capacity", **place, unit="slots") == 40
    assert value(families, "roost_pool_free", **place, unit="slots") == 12
    assert value(families, "roost_pool_waiting_jobs", **place) == 3
    assert value(families, "roost_pool_busy_cores", **place) == 0.5
    assert value(families, "roost_pool_real_cores", **place) == 8
    assert value(families, "roost_pool_free", cluster="gpus", pool="gpu", unit="gpus") == 1
    assert hub.pool.calls.count("capacity") == 1


async def test_a_refused_site_file_is_shown(scrape, engine):
    assert value(await scrape(), "roost_site_file_good") == 1
    engine.file.path.write_text("profiles: none")
    for _ in range(40):
        if (families := await scrape()) and engine.file.error is not None:
            break
        await asyncio.sleep(0.05)
    assert value(families, "roost_site_file_good") == 0
    assert value(families, "roost_site_file_loaded_timestamp_seconds") == engine.file.loaded_at


def row(family):
    """Return a metric's line of the reference page."""
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
    shown = ", ".join(f"`{label}`" for label in labels if label != "le") or "none"
    return f"| `{name}` | {family.type} | {shown} | {family.documentation.rstrip('.')} |"


async def test_the_reference_page_says_what_there_is(scrape, engine):
    await engine.capacity("pool").look(1)
    metrics.expect({"interactive": "pool"}, {"interactive": ("gpu",)})
    show_grants({}, None, 0.0)
    lines = REFERENCE.read_text().splitlines()
    there = sorted(row(family) for family in (await scrape()).values())
    assert sorted(line for line in lines if line.startswith("| `roost_")) == there, "\n".join(
        ["docs/reference/metrics.md should have:", *there]
    )


def asked_for(expression):
    """Return the metrics of ours that a PromQL expression names, as families are named."""
    names = set(re.findall(r"\broost_[a-z0-9_]+", expression))
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names}


async def test_the_dashboard_asks_for_what_there_is(scrape, engine):
    await engine.capacity("pool").look(1)
    board = json.loads(DASHBOARD.read_text())
    targets = [target for panel in board["panels"] for target in panel.get("targets", ())]
    queries = [one["definition"] for one in board["templating"]["list"] if "definition" in one]
    families = await scrape()
    for expression in [*(target["expr"] for target in targets), *queries]:
        assert asked_for(expression), expression
        assert asked_for(expression) <= set(families), expression
    assert {target["datasource"]["uid"] for target in targets} == {"${datasource}"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


async def test_the_alerts_of_the_documentation_ask_for_what_there_is(scrape, engine):
    blocks = re.findall(r"```yaml\n(.*?)```", MONITORING.read_text(), re.DOTALL)
    (rules,) = (yaml.safe_load(block) for block in blocks if "alert:" in block)
    families = set(await scrape())
    for rule in rules["groups"][0]["rules"]:
        assert asked_for(rule["expr"]), rule["alert"]
        assert asked_for(rule["expr"]) <= families, rule["alert"]
