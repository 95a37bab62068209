"""Which of the wanted scopes a grant lacks, so that a refusal can name them."""

from __future__ import annotations

import pytest
from roost_shepherd.scopes import lacking

pytestmark = pytest.mark.unit

GRANT = {"openid", "compute.read", "storage.read:/", "storage.modify:/cms"}


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"compute.read", "storage.read:/"}, ()),
        ({"storage.read:/cms/data", "storage.modify:/cms/data", "storage.modify:/cms"}, ()),
        ({"storage.stage:/", "compute.create", "openid"}, ("compute.create", "storage.stage:/")),
        ({"storage.modify:/cms2"}, ("storage.modify:/cms2",)),
        ({"storage.modify:/"}, ("storage.modify:/",)),
        ({"storage.modify:/cms/../lhcb"}, ("storage.modify:/cms/../lhcb",)),
        ({"storage.read"}, ("storage.read",)),
        ({"compute.read:/x"}, ("compute.read:/x",)),
    ],
)
def test_what_a_grant_lacks_is_named(wanted, named):
    assert lacking(wanted, GRANT) == named


def test_of_a_grant_of_which_nothing_is_known_nothing_is_said():
    assert lacking({"compute.read"}, ()) == ()
