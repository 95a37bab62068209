"""What is refused, and how it is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from roost_spawner.errors import SiteError
from roost_spawner.site import fit
from roost_spawner.site.loader import _Loader, parse_site
from roost_spawner.site.mistakes import words
from roost_spawner.site.models import Site
from roost_spawner.site.remarks import remarks

from tests.support.sites import EVERYTHING, GOOD

pytestmark = pytest.mark.unit


def refused(text):
    with pytest.raises(SiteError) as caught:
        parse_site(text, Path("site.yaml"))
    return caught.value.sentence


def test_the_pattern_of_the_bad_files_is_good():
    parse_site(GOOD, Path("site.yaml"))


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        # overflow
        (
            "overflow: [gpu]",
            "overflow: [interactive]",
            26,
            "big.overflow.0: overflow goes round in a circle: interactive -> big -> interactive; ",
        ),
        ("overflow: [gpu]", "overflow: [big]", 26, "in a circle: big -> big"),
        (
            "image: /cvmfs/images/gpu.sif",
            "overflow: [interactive]",
            32,
            "in a circle: interactive -> big -> gpu -> interactive",
        ),
        (
            "overflow: [gpu]",
            "overflow: [gpus]",
            26,
            "there is no profile 'gpus'; there are: interactive, gpu; did you mean 'gpu'?",
        ),
        ("overflow: [gpu]", "overflow: [gpu, gpu]", 26, "'gpu' is named twice"),
        ("overflow: [gpu]", "overflow: gpu", 26, "'gpu' is no list; write one, such as [a, b]"),
        ("patience: 30s", "patience: 1s", 20, "'1s' is not allowed here; it takes from 5s to 1d"),
        ("patience: 30s", "patience: 30", 20, "30 is no span of time; write a time such as 30s"),
        # amounts
        ("gpus: 1", "gpus: one", 30, "'one' is no whole number"),
        ("gpus: 1", "gpus: -1", 30, "-1 is not allowed here; it takes from 0 to 4096"),
        ("gpus: 1", "cpus: 0", 30, "0 is not allowed here; it takes from 1 to 4096"),
        ("gpus: 1", "memory: 1.5", 30, "1.5 is no amount of memory; write an amount with a unit"),
        ("gpus: 1", "memory: [1 GiB]", 30, "['1 GiB'] is no amount of memory"),
        ("gpus: 1", "memory: {max: 2 GiB}", 30, "'default' is missing"),
        ("gpus: 1", "gpus: {max: 2, choices: [1, 2]}", 30, "either max or choices, not both"),
        ("gpus: 1", "gpus: {choices: []}", 30, "'default' is missing"),
        ("gpus: 1", "gpus: {choices: 4}", 30, "4 is no list; write one, such as [a, b]"),
        ("gpus: 1", "gpus: {default: 2, maxx: 4}", 30, "no setting 'maxx'; there are: default"),
        ("moving: 2s", "moving: 2m", 6, "'2m' is not allowed here; it takes from 1s to 1m"),
        # defaults: once, at their own line
        ("memory: 1 GiB,", "memory: 1,", 5, "defaults.memory: 1 is no amount of memory"),
        ("memory: 1 GiB,", "memory: {default: 2 GiB, max: 1 GiB},", 5, "above its max 1 GiB"),
        ("memory: 1 GiB,", "partition: gpu,", 5, "there is no setting 'partition'; there are:"),
        # announcements
        ("2026-12-02 08:00", "2026-11-30 08:00", 4, "it ends at 2026-11-30 "),
        ("2026-12-02 08:00", "2026-12-02", 4, "'2026-12-02' is no date with a time; write 2026-"),
        ("2026-12-02 08:00", "2026-13-02 08:00", 4, "is no date with a time"),
        ("2026-12-02 08:00", "2026-12-02 08:00 Mars/Base", 4, "time zone that is not known here"),
        ("text: Down on Monday", "text: ''", 4, "announcements.0.text: this must not be empty"),
        ("text: Down on Monday", "text: Hi, level: loud", 4, "'info' or 'warning'"),
        # texts
        ("icon: rocket", "icon: fa rocket", 21, "it takes an icon's name without fa-"),
        ("gpu.sif", "gpu 1.sif", 32, "it takes a file or folder by its absolute path, or"),
        ("/cvmfs/images/gpu.sif", "gpu.sif", 32, "begins with docker://"),
        ("gpu_type: a100", "gpu_type: NVIDIA A100", 31, "it takes one word of up to 128 letters"),
        ("title: Big one", "title: 42", 23, "42 is not text; put it in quotes"),
        ("title: Big one", f"title: {'x' * 201}", 23, "201 characters; up to 200 are allowed"),
        ("title: Big one", "titel: Big one", 23, "no setting 'titel'; did you mean 'title'?"),
        ("  big:", "  Big One:", 22, "'Big One' is not allowed here; it takes up to 40 small"),
        ("hub_id: desy-naf", "hub_id: desy_naf", 1, "it takes up to 40 small letters, digits, -"),
        # what belongs to one kind of cluster
        ("kind: slurm", "kind: pbs", 14, "'pbs' is not allowed here; kind is one of: htcondor"),
        ("kind: slurm, ", "", 14, "'kind' is missing; it is one of: htcondor, slurm"),
        ("kind: slurm", "kind: slurm, schedd: ap", 14, "no setting 'schedd'; there are: identity"),
        ("slot: ordinary", "gpu_type: a100", 25, "write submit_commands: {require_gpus"),
        ("slot: ordinary", "account: cms", 25, "write submit_commands: {accounting_group"),
        ("    cluster: maxwell\n", "", 27, "'cluster' is missing; name one of those under"),
        # the file's frame
        ("profiles:\n", "profiles: {}\nx:\n", 15, "this must not be empty"),
        ("watch: {moving: 2s}", "watch: 2s", 6, "'2s' cannot stand here; write settings below"),
        ("watch: {moving: 2s}", "defaults: {}", 6, "this is given twice"),
        ("watch: {moving: 2s}", "watch: &again {moving: *again}", 6, "refers to itself"),
    ],
)
def test_each_mistake_is_said_in_words_at_its_line(old, new, line, words):
    assert old in GOOD
    sentence = refused(GOOD.replace(old, new, 1))
    assert f"site.yaml, line {line}: " in sentence
    assert words in sentence
    for technical in ("^", "validation", "pydantic", "tuple", "dict"):
        assert technical not in sentence


def test_a_wrong_default_is_one_mistake_however_many_profiles_take_it():
    assert len(refused(GOOD.replace("memory: 1 GiB", "memory: 1")).splitlines()) == 1


def test_what_a_cluster_and_a_profile_lack_is_said_together():
    text = GOOD.replace("    collector: cm.example.org\n", "").replace("title: Big one", "x: 1")
    assert [
        line.partition(", ")[2].partition("; there are")[0] for line in refused(text).splitlines()
    ] == [
        "line 8: clusters.naf: 'collector' is missing",
        "line 21: profiles.big: 'title' is missing",
        "line 22: profiles.big.x: there is no setting 'x'",
    ]


JUNK = [None, -1, 10**12, 1.5, True, "", "x", "\u00e9", [], [[]], ["x"], {}, {"x": 1}, {1: 2}]
JUNK += [{"default": {}}, {"kind": "slurm"}, {"choices": []}, {"choices": [None]}]


def places(node, at=()):
    """Yield the way to everything below a node."""
    steps = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for step in steps:
        yield (*at, step)
        yield from places(node[step], (*at, step))


def with_junk(content, at, junk):
    step, *rest = at
    copied = dict(content) if isinstance(content, dict) else list(content)
    copied[step] = with_junk(copied[step], rest, junk) if rest else junk
    return copied


def test_whatever_stands_anywhere_is_taken_or_refused_in_words():
    good = yaml.load(EVERYTHING, Loader=_Loader)
    said = set()
    for at in places(good):
        for junk in JUNK:
            try:
                site = Site.model_validate(with_junk(good, at, junk))
            except ValidationError as error:
                said |= {words(detail) for detail in error.errors(include_url=False)}
            else:
                said |= {sentence for _, sentence in [*fit.problems(site), *remarks(site, 0)]}
    assert len(said) > 100
    technical = re.compile(r"\^|validation|pydantic|tuple|dict|<class|input should|valid ")
    assert [sentence for sentence in said if technical.search(sentence)] == []


def test_a_file_that_nests_without_end_is_no_yaml():
    assert "this is no YAML" in refused("a: " + "[" * 2000)
