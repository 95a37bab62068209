"""Whatever name an account may have works from the start to the server in its job."""

from __future__ import annotations

import pytest
from roost_authenticator.mapfile import unsafe_account

pytestmark = pytest.mark.hub


@pytest.mark.parametrize(
    "name", ["a.b", "BigAccount", "a" * 32, "Ann.B_Long.Name.With.32.Letters."]
)
async def test_names_with_dots_capitals_and_32_letters_work_through_to_the_job(
    hub, name, monkeypatch
):
    assert unsafe_account(name) is None
    # The session hub's own way of logging in would lower the case; the IAM's does not.
    monkeypatch.setattr(
        type(hub.app.authenticator), "normalize_username", lambda _self, given: given
    )
    hub.pool.run_for_real = True
    session = await hub.spawn(name)
    server = await hub.settled(name)
    assert server["ready"]
    assert server["url"] == f"/user/{name}/"
    assert session.place == (name, "")
    (view,) = hub.pool.jobs.values()
    assert view.owner == name
