"""The table in docs/explanation/login.md names tests that exist."""

from __future__ import annotations

import ast
import re

import pytest

from testbed.layout import REPOSITORY

pytestmark = pytest.mark.unit

PAGE = REPOSITORY / "docs" / "explanation" / "login.md"
ROW = re.compile(r"^\| ([a-l]) \|(.*)\|$", re.MULTILINE)
TEST = re.compile(r"`(test_\w+)\.py::(test_\w+)`")


def names_in(name):
    (file,) = (REPOSITORY / "tests").rglob(f"{name}.py")
    return {
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_case_has_a_row_and_every_row_a_test_that_exists():
    rows = dict(ROW.findall(PAGE.read_text()))
    assert sorted(rows) == list("abcdefghijkl")
    for letter, row in rows.items():
        ours = row.split("|")[-1]
        assert TEST.search(ours), letter
        for file, test in TEST.findall(row):
            assert test in names_in(file), f"{letter}: {file}.py::{test}"
