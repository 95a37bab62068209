from __future__ import annotations

import pytest

from testbed.layout import BENCH_PLAN, PLAN, people
from testbed.recipe import Layer, layers

pytestmark = pytest.mark.unit


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "lock.txt").write_text("one==1\n")
    return tmp_path


def digest(repository, *, parent="aa", **changes):
    fields = {"name": "hub", "parents": ("base",), "script": "true\n", "inputs": ("lock.txt",)}
    return Layer(**(fields | changes)).digest(repository, {"base": parent})


def test_the_same_recipe_has_the_same_hash(repository):
    assert digest(repository) == digest(repository)


@pytest.mark.parametrize("change", [{"script": "false\n"}, {"name": "broker"}, {"parent": "bb"}])
def test_a_changed_recipe_or_parent_has_another_hash(repository, change):
    assert digest(repository, **change) != digest(repository)


def test_a_changed_lock_file_has_another_hash(repository):
    before = digest(repository)
    (repository / "lock.txt").write_text("one==2\n")
    assert digest(repository) != before


def test_only_what_is_installed_counts_of_pyproject(repository):
    path = repository / "pyproject.toml"

    def hashed(text):
        path.write_text(text)
        return digest(repository, inputs=("pyproject.toml",))

    project = '[project]\nname = "x"\ndependencies = ["a"]\n'
    assert hashed(project) == hashed(project + "[tool.ruff]\nline-length = 1\n")
    assert hashed(project) != hashed(project.replace('"a"', '"b"'))
    assert hashed(project) != hashed(project + "[tool.hatch.build]\nx = 1\n")


def test_the_suite_is_part_of_every_hash():
    assert layers("trixie", people())["base"] != layers("forky", people())["base"]


def test_layers_come_after_their_parents():
    seen = set()
    for layer in layers("trixie", people()).values():
        assert seen.issuperset(layer.parents)
        seen.add(layer.name)


def test_every_host_is_made_of_known_layers_whose_parents_lie_below_them():
    known = layers("trixie", people())
    for plan in (PLAN | BENCH_PLAN).values():
        for place, name in enumerate(plan.layers):
            assert set(known[name].parents) <= set(plan.layers[place + 1 :])


def test_the_hub_has_no_batch_system_and_no_homes():
    assert "batch" not in PLAN["hub"].layers
    assert not PLAN["hub"].homes


def test_nodes_carry_nothing_of_ours():
    script = layers("trixie", people())["nodes"].script
    assert "/srv/roost" not in script
