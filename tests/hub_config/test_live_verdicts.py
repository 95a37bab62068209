from __future__ import annotations

from dataclasses import replace

import pytest
from roost_hub.live.verdicts import (
    Finding,
    Verdict,
    asks,
    of_discovery,
    of_grant,
    of_profile,
    of_watch_token,
    rows,
)
from roost_spawner.clusters.base import Capacity, Judgement, Pool, Room
from roost_spawner.site.models import Site

pytestmark = pytest.mark.unit

GOOD, BAD, UNKNOWN = Verdict.GOOD, Verdict.BAD, Verdict.UNKNOWN
GPU = Pool(16, 16, 4, 4, rooms=(Room(2, 8, 16384, 2),), max_walltime_s=86400)
CAPACITY = Capacity({"gpu": GPU, "cpu": GPU})


def site(**profile):
    given = {"title": "GPU", "cluster": "gpus", "partition": "gpu"} | profile
    return Site.model_validate(
        {
            "hub_id": "hub",
            "hub_url": "https://hub.example.org/",
            "clusters": {"gpus": {"kind": "slurm", "broker": "https://broker.example.org/"}},
            "profiles": {"p": given},
        }
    )


def judged(capacity=CAPACITY, judgements=None, **profile):
    tried = list(asks(site(**profile), "p", {}))
    if judgements is None:
        judgements = dict.fromkeys(tried, Judgement())
    return of_profile("p", tried, capacity, judgements)


def test_a_profile_is_tried_as_it_is_and_with_the_most_of_each_choice():
    found = asks(
        site(gpus={"choices": [1, 2]}, memory={"default": "1 GiB", "max": "8 GiB"}, cpus=4), "p", {}
    )
    tried = {ask.choice: ask.wanted for ask in found}
    assert set(tried) == {"", "memory: 8 GiB", "gpus: 2"}
    first = tried[""]
    assert (first.cpus, first.memory_mib, first.gpus) == (4, 1024, 1)
    assert tried["gpus: 2"] == replace(first, gpus=2)


def test_what_the_hubs_own_settings_add_is_tried():
    (ask,) = asks(site(partition=None), "p", {"partition": "cpu"})
    assert ask.wanted.partition == "cpu"


def test_a_profile_that_fits_is_good():
    assert judged() == [Finding("profile p", GOOD, "It can start, whatever is chosen.")]


@pytest.mark.parametrize(
    ("profile", "said", "hint"),
    [
        ({"memory": "64 GiB"}, "No node has 1 core and 64 GiB", "Ask for less"),
        (
            {"walltime": "2d"},
            "A session here lasts 1d at the longest",
            "Let walltime be 1d at most",
        ),
        ({"partition": "night"}, "hands out no partition night", "that is handed out: gpu, cpu"),
    ],
)
def test_a_profile_that_can_never_start_is_bad_and_says_what_to_do(profile, said, hint):
    (found,) = judged(**profile)
    assert (found.about, found.verdict) == ("profile p", BAD)
    assert said in found.said
    assert hint in found.hint


def test_only_the_choice_that_can_never_start_is_named():
    (found,) = judged(memory={"default": "1 GiB", "max": "64 GiB"}, cpus={"default": 1, "max": 4})
    assert (found.about, found.verdict) == ("profile p, memory: 64 GiB", BAD)


def test_what_is_out_of_order_is_not_the_profiles_fault():
    down = Capacity({"gpu": replace(GPU, problem="The partition is out of service.")})
    (found,) = judged(down)
    assert (found.verdict, found.said) == (BAD, "The partition is out of service.")
    assert "may be good" in found.hint


def test_the_brokers_own_words_for_what_it_does_not_hand_out_are_enough():
    (ask,) = asks(site(partition="night"), "p", {})
    refused = Judgement(("partition is 'night'; allowed here is one of gpu.",), ())
    (found,) = of_profile("p", [ask], CAPACITY, {ask: refused})
    assert found.said == refused.problems[0]
    assert "broker.toml" in found.hint


def test_what_shows_at_a_submit_only_is_told_once():
    tried = list(asks(site(gpus={"choices": [1, 2]}), "p", {}))
    some = Judgement((), ("Whether Slurm knows the qos x shows at a submit only.",))
    found = of_profile("p", tried, CAPACITY, dict.fromkeys(tried, some))
    assert [finding.verdict for finding in found] == [GOOD, UNKNOWN]
    assert found[0].said == "There is a place that is large enough, whatever is chosen."


def test_a_profile_whose_rules_could_not_be_asked_is_not_called_good_to_start():
    (found,) = judged(judgements={})
    assert found.said == "There is a place that is large enough, whatever is chosen."


def test_of_a_cluster_that_told_nothing_no_profile_is_judged():
    (found,) = judged(None)
    assert found.verdict is UNKNOWN


def test_without_the_schedulers_rules_what_it_has_is_still_compared():
    assert judged(judgements={}, memory="64 GiB")[0].verdict is BAD
    assert judged(judgements={})[0].verdict is GOOD


@pytest.mark.parametrize(
    ("expires_at", "verdict", "said", "hint"),
    [
        (None, GOOD, "The watch token has no end.", False),
        (99.0, BAD, "The watch token has expired.", True),
        (100.0 + 86400, GOOD, "The watch token is good for 1d.", True),
        (100.0 + 100 * 86400, GOOD, "The watch token is good for 100d.", False),
    ],
)
def test_the_end_of_the_watch_token_is_told(expires_at, verdict, said, hint):
    found = of_watch_token("cluster pool", expires_at, now=100.0)
    assert (found.verdict, found.said, bool(found.hint)) == (verdict, said, hint)


DOCUMENT = {
    "grant_types_supported": ["authorization_code", "client_credentials"],
    "scopes_supported": ["openid", "compute.read", "storage.read:/"],
}


@pytest.mark.parametrize(
    ("document", "scopes", "verdicts", "said"),
    [
        (DOCUMENT, ["openid", "storage.read:/home"], [GOOD], "knows all scopes"),
        (DOCUMENT, ["compute.create", "openid"], [BAD], "does not know the scopes compute.create."),
        (DOCUMENT | {"grant_types_supported": []}, [], [BAD, GOOD], "client_credentials"),
        ({}, ["openid"], [UNKNOWN], "does not say which scopes"),
    ],
)
def test_what_the_provider_says_of_itself_is_compared(document, scopes, verdicts, said):
    found = of_discovery(document, scopes, needs_client=True)
    assert [finding.verdict for finding in found] == verdicts
    assert said in found[0].said


def test_scopes_that_were_not_granted_are_named():
    assert of_grant("user x", ["a", "b"], ["b", "a", "c"]).verdict is GOOD
    found = of_grant("user x", ["a", "b", "c"], ["b"])
    assert (found.verdict, found.said) == (BAD, "The token that is given lacks a, c.")


def test_a_hint_stands_below_its_row():
    found = rows([Finding("cluster pool", GOOD, "Yes."), Finding("identity", BAD, "No.", "Do.")])
    assert found == [
        ("cluster pool", "good", "Yes."),
        ("identity", "BAD", "No."),
        ("", "", "> Do."),
    ]
