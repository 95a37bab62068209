"""The project's own house: what the design says of folders, imports and the wheel."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile

import pytest

from testbed.layout import REPOSITORY

pytestmark = pytest.mark.unit

COMPONENTS = {
    "shepherd": "roost_shepherd",
    "authenticator": "roost_authenticator",
    "spawner": "roost_spawner",
    "hub-config": "roost_hub",
}


def tracked(*folders):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(listed.stdout.split())


@pytest.mark.parametrize(("folder", "package"), COMPONENTS.items())
def test_a_component_is_one_package_and_a_readme_of_a_page(folder, package):
    packages = [path.parent.name for path in (REPOSITORY / folder).glob("*/__init__.py")]
    assert packages == [package]
    assert len((REPOSITORY / folder / "README.md").read_text().splitlines()) <= 60


@pytest.mark.parametrize(("folder", "package"), COMPONENTS.items())
def test_importing_a_package_imports_nothing_else(folder, package):
    tree = ast.parse((REPOSITORY / folder / package / "__init__.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name for name in names if ".dist-info/" not in name}
    expected = {
        name.removeprefix(f"{folder}/")
        for folder, package in COMPONENTS.items()
        for name in tracked(f"{folder}/{package}")
    }
    assert packed == expected


def test_every_entry_point_names_something_that_is_there():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    points = [*project["scripts"].values()]
    for group in project["entry-points"].values():
        points += group.values()
    for point in points:
        module, _, name = point.partition(":")
        done = subprocess.run(
            [sys.executable, "-c", f"import {module} as m; m.{name}"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_no_host_name_of_a_package_registry_is_in_a_lock_file():
    for path in (REPOSITORY / "requirements").iterdir():
        assert "://" not in path.read_text()
    for folder in ("testbed/npm", "tests/browser/npm"):
        assert '"resolved"' not in (REPOSITORY / folder / "package-lock.json").read_text()
