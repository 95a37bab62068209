"""What takes the place of a profile that does not start, and what of a choice goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from roost_spawner.capacity import Sample
from roost_spawner.clusters.base import Capacity, Pool, Resources, Room, SlotClass
from roost_spawner.errors import ChoiceRefused
from roost_spawner.overflow import full, patience_of, plan
from roost_spawner.site.loader import parse_site

pytestmark = pytest.mark.unit

SITE = parse_site(
    """\
hub_id: h
hub_url: https://hub.example.org/
clusters:
  naf: {kind: htcondor, collector: cm, schedd: ap, watch_token: /t, audience: a}
  max: {kind: slurm, broker: "https://b.example.org/"}
profiles:
  small:
    title: Small
    cluster: naf
    cpus: {default: 1, max: 8}
    memory: {default: 2 GiB, max: 64 GiB}
    gpus: {choices: [0, 1, 2]}
    walltime: {default: 8h, max: 24h}
    overflow: [gpu, secret, large]
    patience: 45s
  gpu:
    title: One GPU
    cluster: max
    partition: gpu
    cpus: {choices: [1, 4, 16]}
    memory: {default: 4 GiB, max: 16 GiB}
    gpus: {choices: [1, 2]}
    walltime: {default: 1h, max: 4h}
    overflow: [last]
  secret: {title: Secret, cluster: max, partition: x, groups: [/secret], overflow: [behind]}
  large: {title: Large, cluster: max, partition: l, cpus: 8, memory: 64 GiB, walltime: 12h,
          overflow: [last]}
  behind: {title: Behind, cluster: naf, memory: 8 GiB}
  last: {title: Last, cluster: naf, memory: 1 GiB, share_tokens: never}
""",
    Path("site.yaml"),
)


def tried(groups=(), **options):
    return plan(SITE, groups, {"profile": "small"} | options)


def step(name, **options):
    return next(step for step in tried(**options).steps if step.name == name)


def test_the_profiles_own_list_goes_first_then_that_of_those_and_each_comes_up_once():
    names = [step.name for step in tried(groups=["/secret"]).steps]
    assert names == ["small", "gpu", "secret", "large", "last", "behind"]


def test_what_the_user_may_not_see_is_passed_over_in_silence_but_not_what_follows_it():
    found = tried()
    assert [step.name for step in found.steps] == ["small", "gpu", "large", "last", "behind"]
    assert found.left_out == ()


def test_a_circle_ends_where_it_began():
    small = SITE.profiles["last"].model_copy(update={"overflow": ("small", "gpu")})
    site = SITE.model_copy(update={"profiles": SITE.profiles | {"last": small}})
    names = [step.name for step in plan(site, (), {"profile": "gpu"}).steps]
    assert names == ["gpu", "last", "small", "large", "behind"]


def test_a_profile_without_overflow_has_nowhere_to_go():
    assert [step.name for step in plan(SITE, (), {"profile": "last"}).steps] == ["last"]


def test_what_a_form_always_sends_does_not_count_as_chosen():
    resources = step("gpu", cpus="1", memory="2 GiB", walltime="8h", gpus="0").selection.resources
    assert resources == step("gpu").selection.resources
    assert (resources.cpus, resources.memory_mib, resources.gpus) == (1, 4096, 1)
    assert resources.walltime_s == 3600


def test_what_was_chosen_goes_along():
    resources = step("gpu", cpus=4, memory="8 GiB", gpus="2", walltime="2h").selection.resources
    assert (resources.cpus, resources.memory_mib, resources.gpus) == (4, 8192, 2)
    assert resources.walltime_s == 7200


def test_who_chose_less_than_another_can_give_gets_its_next_more():
    assert step("gpu", cpus=3).selection.resources.cpus == 4
    assert step("large", memory="5 GiB").selection.resources.memory_mib == 64 * 1024


@pytest.mark.parametrize(
    ("options", "left", "words"),
    [
        (
            {"memory": "32 GiB"},
            ["small", "large"],
            "One GPU is left out: it gives memory: up to 16 GiB; you asked for 32 GiB.",
        ),
        ({"gpus": 2}, ["small", "gpu"], "Large is left out: it gives gpus: 0; you asked for 2."),
        (
            {"cpus": 8},
            ["small", "gpu", "large"],
            "Last is left out: it gives cpus: 1; you asked for 8.",
        ),
    ],
)
def test_what_cannot_give_what_was_chosen_is_left_out_and_says_why_once(options, left, words):
    found = tried(**options)
    assert [step.name for step in found.steps] == left
    assert found.left_out.count(words) == 1


def test_walltime_is_cut_to_what_there_is_and_that_is_said():
    gpu = step("gpu", walltime="20h")
    assert gpu.selection.resources.walltime_s == 4 * 3600
    assert gpu.remark == "A session of One GPU lasts 4h at most."
    assert step("large", walltime="2h").remark == ""


def test_tokens_are_shared_only_where_that_profile_allows_it():
    assert step("gpu", share_tokens="yes").selection.share_tokens
    last = step("last", share_tokens="yes")
    assert not last.selection.share_tokens
    assert last.remark == "Last shares no access tokens with others."
    assert not step("gpu", share_tokens="no").selection.share_tokens


def test_a_choice_that_is_not_allowed_is_refused_as_ever():
    with pytest.raises(ChoiceRefused, match="Small gives cpus: up to 8"):
        tried(cpus=9)


def test_each_profile_has_its_own_patience():
    assert [patience_of(SITE, name) for name in ("small", "last", "gone")] == [45, 30, 30]


NOW = 1000.0
WANTED = Resources(cpus=1, memory_mib=1024, walltime_s=60, slot=SlotClass.RESERVED)
ROOM = (Room(2, cpus=1, memory_mib=2048),)


def known(free, at=NOW, problem="", name="reserved"):
    pool = Pool(total=2, free=free, unit="slots", rooms=ROOM, free_rooms=ROOM if free else ())
    return Sample(at, Capacity({name: pool}, by="slot"), problem)


def test_a_cluster_that_has_no_place_is_full():
    assert full(known(0), WANTED, max_age=20, now=NOW) == "No reserved slot is free."
    assert full(known(1), WANTED, max_age=20, now=NOW) == ""


@pytest.mark.parametrize(
    "sample",
    [
        None,
        Sample(NOW, None, "It does not answer."),
        known(0, problem="It does not answer."),
        known(0, at=NOW - 21),
        known(0, name="another"),
    ],
)
def test_of_what_nobody_knows_for_sure_nothing_is_said(sample):
    assert full(sample, WANTED, max_age=20, now=NOW) == ""
