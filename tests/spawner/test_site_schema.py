"""What an editor is told of a site file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator
from roost_spawner.site import models
from roost_spawner.site.loader import _Loader, parse_site
from roost_spawner.site.quantities import Model
from roost_spawner.site.schema import schema, schema_text

from testbed.layout import REPOSITORY
from tests.support.sites import EVERYTHING, GOOD

pytestmark = pytest.mark.unit

CHECKED_IN = REPOSITORY / "hub-config/site.schema.json"
SHIPPED = (REPOSITORY / "hub-config/site.yaml").read_text()


def load(text):
    return yaml.load(text, Loader=_Loader)


@pytest.fixture(scope="module")
def editor():
    Draft7Validator.check_schema(schema())
    return Draft7Validator(schema())


def test_the_schema_that_is_checked_in_is_the_models():
    assert CHECKED_IN.read_text() == schema_text(), f"roost schema > {CHECKED_IN}"


def test_the_shipped_file_tells_editors_where_the_schema_is():
    assert SHIPPED.startswith("# yaml-language-server: $schema=site.schema.json\n")


def uncommented(text):
    """Return the file with the settings that it shows in comments."""
    return re.sub(r"(?m)^( *)# ( *(?:- )?[a-z_]+:.*)$", r"\1\2", text)


def test_what_the_shipped_file_shows_in_comments_is_good():
    site = parse_site(uncommented(SHIPPED), Path("site.yaml"))
    assert site.announcements
    assert site.profiles["interactive"].overflow == ("gpu",)
    assert site.profiles["gpu"].image


@pytest.mark.parametrize("text", [GOOD, EVERYTHING, SHIPPED, uncommented(SHIPPED)])
def test_an_editor_takes_what_the_hub_takes(editor, text):
    parse_site(text, Path("site.yaml"))
    assert [error.message for error in editor.iter_errors(load(text))] == []


def test_the_file_that_says_everything_does():
    content = load(EVERYTHING)
    profiles = {name for profile in content["profiles"].values() for name in profile}
    assert profiles == set(models.Profile.model_fields)
    assert set(content) == set(models.Site.model_fields)
    assert set(content["defaults"]) == set(models.Defaults.model_fields)
    assert set(content["watch"]) == set(models.Watch.model_fields)
    assert set(content["clusters"]["naf"]) == set(models.HTCondorCluster.model_fields)
    assert set(content["clusters"]["maxwell"]) == set(models.SlurmCluster.model_fields)


def test_every_setting_is_described():
    kinds = [kind for kind in vars(models).values() if isinstance(kind, type)]
    found = [kind for kind in kinds if issubclass(kind, Model) and kind is not Model]
    assert models.Profile in found
    for kind in found:
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name} has no docstring"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hub_id: desy-naf", "hub_id: desy naf"),
        ("hub_id: desy-naf", "hubid: desy-naf"),
        ("https://hub.example.org/", "http://hub.example.org/"),
        ("overflow: [gpu]", "overflow: gpu"),
        ("overflow: [gpu]", "overflow: [GPU]"),
        ("patience: 30s", "patience: 30"),
        ("gpus: 1", "gpus: one"),
        ("gpus: 1", "gpus: -1"),
        ("gpus: 1", "cpus: 0"),
        ("gpus: 1", "memory: 2"),
        ("gpus: 1", "memory: {max: 2 GiB}"),
        ("gpus: 1", "gpus: {max: 2, choices: [1, 2]}"),
        ("gpus: 1", "gpus: {default: 2, maxx: 4}"),
        ("moving: 2s", "moving: 2 weeks"),
        ("memory: 1 GiB,", "partition: gpu,"),
        ("2026-12-02 08:00", "2026-12-02"),
        ("text: Down on Monday", "level: loud"),
        ("icon: rocket", "icon: fa rocket"),
        ("/cvmfs/images/gpu.sif", "gpu.sif"),
        ("title: Big one", "titel: Big one"),
        ("title: Big one", "title: 42"),
        ("  big:", "  Big One:"),
        ("kind: slurm", "kind: pbs"),
        ("kind: slurm", "kind: slurm, schedd: ap"),
        ("slot: ordinary", "slot: any"),
        ("slot: ordinary", "environment: {2X: x}"),
        ("slot: ordinary", "submit_commands: [rank]"),
        ("watch: {moving: 2s}", "watch: 2s"),
    ],
)
def test_an_editor_marks_what_it_can_see(editor, old, new):
    assert old in GOOD
    assert list(editor.iter_errors(load(GOOD.replace(old, new, 1))))
