from __future__ import annotations

import uuid

import pytest

from testbed.layout import people

pytestmark = pytest.mark.unit


def test_user_numbers_names_and_subjects_are_unique():
    everyone = people()
    for field in ("name", "uid", "email"):
        values = [getattr(person, field) for person in everyone]
        assert len(set(values)) == len(values)


def test_nobody_is_a_system_account():
    assert all(1000 <= person.uid < 60000 for person in people())


def test_subjects_are_uuids_and_mallory_has_none():
    found = {person.name: person.subject for person in people()}
    assert found.pop("mallory") is None
    assert len({uuid.UUID(subject) for subject in found.values()}) == 3


def test_carol_is_the_only_admin():
    assert [person.name for person in people() if person.admin] == ["carol"]
    assert [p.name for p in people() if "/roost/admins" in p.groups] == ["carol"]


def test_passwords_are_not_in_the_representation():
    assert "-pw" not in repr(people())
