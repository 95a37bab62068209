"""What the documentation takes from the code."""

from __future__ import annotations

import importlib.util

import pytest
from roost_spawner.site import models
from roost_spawner.site.quantities import Model

from testbed.layout import REPOSITORY

pytestmark = pytest.mark.unit

KINDS = [
    kind
    for kind in vars(models).values()
    if isinstance(kind, type) and issubclass(kind, Model) and kind is not Model
]


@pytest.fixture(scope="module")
def site_tables():
    spec = importlib.util.spec_from_file_location("site_tables", REPOSITORY / "docs/site_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_says_of_every_setting_what_it_takes_and_does(site_tables, kind):
    rows = [line.split(" | ") for line in site_tables.table(kind).splitlines()[2:]]
    assert [row[0].strip("| `") for row in rows] == list(kind.model_fields)
    assert all(row[1] and row[3].strip(" |") for row in rows)


def test_the_reference_has_a_table_of_every_model():
    page = (REPOSITORY / "docs/reference/site-file.md").read_text()
    assert [
        kind.__name__ for kind in KINDS if f"{{site-settings}} {kind.__name__}\n" not in page
    ] == []


def test_limits_and_choices_are_said_in_words(site_tables):
    table = site_tables.table(models.Profile)
    assert "| `slot` | `reserved` or `ordinary` |" in table
    assert "| a time, such as 90m; from 5s to 1d |" in table
    assert "| `title` | text of up to 200 characters | required |" in table
