from __future__ import annotations

from pathlib import Path

import pytest
from roost_spawner.capacity import Sample
from roost_spawner.clusters.base import Capacity, Pool, Room
from roost_spawner.offers import STALE, offers, version
from roost_spawner.outlook import Starts
from roost_spawner.site.loader import parse_site

pytestmark = pytest.mark.unit

TEXT = """\
hub_id: h
hub_url: https://hub.example.org/
watch: {capacity: 10s}
clusters:
  naf: {kind: htcondor, collector: cm, schedd: ap, watch_token: /t, audience: a}
  max: {kind: slurm, broker: "https://b.example.org/"}
profiles:
  small: {title: Small, cluster: naf, overflow: [large]}
  large: {title: Large, cluster: max, partition: p, cpus: 4, groups: [/large]}
"""
SITE = parse_site(TEXT, Path("site.yaml"))
NOW = 1_000_000.0
SLOTS = Pool(total=2, free=0, unit="slots", rooms=(Room(2, cpus=1, memory_mib=512),))
NODES = Pool(total=8, free=8, rooms=(Room(2, 4, 9999),), free_rooms=(Room(2, 4, 9999),))


def stand(groups=("large",), at=NOW, site=SITE, **expected):
    samples = {
        "naf": Sample(at, Capacity({"reserved": SLOTS}, by="slot")),
        "max": Sample(at, Capacity({"p": NODES})),
    }
    found = offers(site, groups, {}, samples, expected=expected.get, now=NOW)
    return {offer.name: offer for offer in found}


def test_each_profile_stands_as_its_own_cluster_does_for_what_it_asks():
    found = stand()
    assert found["large"].outlook.starts is Starts.NOW
    small = found["small"].outlook
    assert (small.starts, small.why) == (
        Starts.NEVER,
        "No slot has 1 core and 1 GiB; the largest has 1 core and 512 MiB.",
    )


def test_a_profile_that_never_starts_is_open_where_another_takes_its_place():
    assert not stand()["small"].closed
    assert [other.name for other in stand()["small"].overflow] == ["large"]
    # Not one that the user may not have.
    assert stand(groups=())["small"].closed
    assert stand(groups=())["small"].overflow == ()


def test_nobody_is_locked_out_by_an_old_figure():
    edge = NOW - SITE.watch.capacity - STALE
    assert stand((), at=edge)["small"].closed
    old = stand((), at=edge - 1)["small"]
    assert old.outlook.starts is Starts.UNKNOWN
    assert not old.closed
    assert old.outlook.free == ("0 of 2 reserved slots free",)


def test_of_a_cluster_that_nobody_has_asked_yet_nothing_is_told():
    (offer,) = offers(SITE, (), {}, {"naf": None}, now=NOW)
    assert offer.outlook.starts is Starts.UNKNOWN
    assert offer.outlook.free == ()
    assert not offer.closed


def test_a_version_changes_with_the_profiles_and_not_with_what_is_free():
    def told(site=SITE, at=NOW):
        return version(list(stand(at=at, site=site).values()))

    assert told() == told(at=NOW - 500)
    assert told() != told(parse_site(TEXT.replace("cpus: 4", "cpus: 3"), Path("site.yaml")))
