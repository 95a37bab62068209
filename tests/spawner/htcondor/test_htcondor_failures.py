"""HTCondor's error texts, as captured, become this package's errors with a plain sentence."""

from __future__ import annotations

import pytest
from roost_spawner.clusters.htcondor.failures import connection_failed, failure
from roost_spawner.errors import ClusterRefused, ClusterUnreachable, NoJob, NotAuthorized

pytestmark = pytest.mark.unit

CONNECT = "Failed to connect to schedd, errmsg="
COMMIT = "Unable to commit transaction, SCHEDD:2:"


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (
            CONNECT + "AUTHENTICATE:1003:Failed to authenticate with any method|"
            "AUTHENTICATE:1004:Failed to authenticate using SCITOKENS",
            NotAuthorized,
            "did not accept your identity",
        ),
        (
            CONNECT + 'SECMAN:2010:Received "DENIED" from server for user alice@roost.test '
            "using method SCITOKENS.",
            NotAuthorized,
            "does not allow you to submit the job",
        ),
        (
            COMMIT + "Setting owner to bob when active owner is alice is not permitted",
            NotAuthorized,
            "another account",
        ),
        (
            COMMIT + "A notebook's walltime is 1 to 86400 s; 999999 was asked for.",
            ClusterRefused,
            "walltime is 1 to 86400 s",
        ),
        ("Failed communication with collector.", ClusterUnreachable, "does not answer"),
        (CONNECT + "SECMAN:2011:Connection closed", ClusterUnreachable, "does not answer"),
        (
            "expected next ProcId to be 0, but Schedd says -3",
            ClusterRefused,
            "as many notebooks on cluster naf as it allows",
        ),
        ("Unable to commit transaction, ", ClusterUnreachable, "disk may be full"),
        (
            "Failed to create job ad, errmsg=Submit:-1:Parse error in expression: \n\tRank = 1 +\n",
            NoJob,
            "it said: Parse error in expression: Rank = 1 +. Tell the hub's admins.",
        ),
        (
            "Failed to create a cluster ad, errmsg=Submit:-1:Permission denied: " + "x" * 9999,
            NoJob,
            "Permission denied",
        ),
        ("invalid Queue statement, errmsg=", NoJob, "no reason given"),
        ("something new", ClusterUnreachable, "does not answer"),
    ],
)
def test_each_text_is_the_error_that_it_means(text, kind, words):
    found = failure(text, cluster="naf", doing="submit the job")
    assert type(found) is kind
    assert words in found.sentence
    assert "naf" in found.sentence
    assert text in found.detail
    assert len(found.sentence) < 400


def test_only_a_schedd_that_was_not_reached_is_asked_again():
    assert connection_failed(CONNECT + "SECMAN:2003:TCP connection failed")
    assert not connection_failed(COMMIT + "A notebook needs a session mark")
