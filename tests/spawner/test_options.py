from __future__ import annotations

from pathlib import Path

import pytest
from roost_spawner.clusters.base import SlotClass
from roost_spawner.errors import ChoiceRefused
from roost_spawner.options import flatten, resolve, visible
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
  plain: {title: Plain, cluster: naf}
  interactive:
    title: Interactive
    cluster: naf
    memory: 2 GiB
    cpus: {default: 1, max: 4}
    walltime: {default: 12h, max: 24h}
  gpu:
    title: One GPU
    cluster: max
    partition: gpu
    gpus: {choices: [1, 2]}
    walltime: {choices: [1h, 4h], default: 4h}
    groups: [/cms/gpu]
""",
    Path("site.yaml"),
)


def test_tokens_are_shared_only_where_the_site_lets_owners_do_so():
    choice = {"share_tokens": "yes"}
    assert resolve(SITE, (), choice).share_tokens
    never = SITE.model_copy(update={"share_tokens": "never"})
    with pytest.raises(ChoiceRefused, match="Plain lets nobody share access tokens"):
        resolve(never, (), choice)
    assert not resolve(never, (), {"share_tokens": "no"}).share_tokens
    owner = never.profiles["plain"].model_copy(update={"share_tokens": "owner"})
    assert resolve(never.model_copy(update={"profiles": {"plain": owner}}), (), choice).share_tokens


def test_no_choice_means_the_first_profile_as_it_is():
    selection = resolve(SITE, (), {})
    assert selection.name == "plain"
    assert (selection.resources.cpus, selection.resources.memory_mib) == (1, 1024)


def test_the_spawners_traits_fill_in_what_a_profile_leaves_out():
    defaults = {"memory": "3 GiB", "cpus": "2", "walltime": "2h"}
    resources = resolve(SITE, (), {"profile": "plain"}, defaults).resources
    assert (resources.cpus, resources.memory_mib, resources.walltime_s) == (2, 3072, 7200)
    assert resolve(SITE, (), {"profile": "interactive"}, defaults).resources.memory_mib == 2048


def test_a_trait_without_sense_is_the_admins_matter():
    with pytest.raises(ChoiceRefused, match="req_memory") as caught:
        resolve(SITE, (), {}, {"memory": "4096"})
    assert "admin" in caught.value.sentence
    assert "4096" not in caught.value.sentence


@pytest.mark.parametrize("given", [2, "2"])
def test_form_and_rest_come_to_the_same(given):
    resources = resolve(SITE, ("/cms/gpu",), {"profile": "gpu", "gpus": given}).resources
    assert (resources.gpus, resources.partition, resources.walltime_s) == (2, "gpu", 14400)
    assert resources.slot is SlotClass.RESERVED


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "gpu", "gpus": 3}, "gives gpus: 1, 2; you asked for '3'"),
        ({"profile": "gpu", "gpus": -1}, "gives gpus"),
        ({"profile": "gpu", "gpus": True}, "gives gpus"),
        ({"profile": "interactive", "walltime": "25h"}, "walltime: up to 1d"),
        ({"profile": "interactive", "walltime": "0s"}, "walltime: up to 1d"),
        (
            {"profile": "interactive", "walltime": "3 weeks"},
            "up to 1d; you asked for '3 weeks', which is not understood. Write it like 12h.",
        ),
        ({"profile": "interactive", "memory": "3 GiB"}, "memory: 2 GiB; you asked for '3 GiB'"),
        ({"profile": "interactive", "cpus": ["2"]}, "cpus: up to 4"),
        ({"profile": "interactive", "cpus": 0}, "cpus: up to 4"),
        ({"profile": "nope"}, "choose one of: plain, interactive, gpu"),
        ({"profile": ["gpu"]}, "There is no profile"),
        ({"profile": "gpu", "partition": "all"}, "no option 'partition'"),
        ({"cmd": "rm"}, "no option 'cmd'"),
    ],
)
def test_what_is_not_allowed_is_refused_with_what_is(options, words):
    with pytest.raises(ChoiceRefused) as caught:
        resolve(SITE, ("cms/gpu",), options)
    assert words in caught.value.sentence


def test_a_profile_of_another_group_is_not_there():
    assert list(visible(SITE, ("/cms",))) == ["plain", "interactive"]
    with pytest.raises(ChoiceRefused, match="choose one of: plain, interactive"):
        resolve(SITE, ("/cms",), {"profile": "gpu"})


def test_only_the_chosen_cards_fields_count():
    form = {
        "_xsrf": ["x"],
        "profile": ["gpu"],
        "gpu.gpus": ["2"],
        "gpu.walltime": [""],
        "interactive.walltime": ["99h"],
    }
    assert flatten(form) == {"profile": "gpu", "gpus": "2"}


def test_links_use_plain_names_and_unknown_ones_are_kept_to_be_refused():
    assert flatten({"profile": ["gpu"], "gpus": ["1"]}) == {"profile": "gpu", "gpus": "1"}
    assert flatten({"oops": ["1"]}) == {"oops": "1"}
