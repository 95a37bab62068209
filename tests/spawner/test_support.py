"""What a user copies for support: enough to help with, and nothing secret."""

from __future__ import annotations

import jwt
import pytest
from roost_spawner.record import Record, SessionState
from roost_spawner.support import blank, support_text

pytestmark = pytest.mark.unit

JWT = jwt.encode({"sub": "alice", "scope": "storage.read:/"}, "k" * 32)
HEX = "06c1d3f2b9a84e57a1c0ffee5ca1ab1e"  # as JupyterHub makes its tokens
TICKET = "q7Lw-0ZkPz_VbS3mXh2RtYc9aEJdGfNu4oTiWvK1yHg"  # as we make ours


@pytest.mark.parametrize("secret", [JWT, HEX, TICKET, HEX.upper(), "f" * 64])
@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "Traceback: could not use {}.",
        "GET /user/alice/?token={} HTTP/1.1",
        'headers: {{"Authorization": "token {}", "Host": "x"}}',
        "Authorization: Bearer {}",
        "JUPYTERHUB_API_TOKEN={}",
        "a line before\r\n\t({})\nand one after",
        "http://alice:{}@proxy.example.org/",
        "x" * 9000 + " {} " + "y-" * 9000,
    ],
)
def test_what_looks_like_a_token_is_blanked_wherever_it_stands(secret, line):
    assert secret not in blank(line.format(secret))


@pytest.mark.parametrize(
    "line",
    [
        "password: hunter2hunter2",
        '"client_secret": "hunter2hunter2"',
        "GET /hub/oauth_callback?code=hunter2hunter2&state=hunter2hunter2",
        "Set-Cookie: jupyterhub-session-id=hunter2hunter2; Path=/",
        "-----BEGIN PRIVATE KEY-----\nhunter2hunter2\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nhunter2hunter2",
        "authorization = Basic hunter2hunter2",
    ],
)
def test_what_is_called_a_secret_is_blanked_whatever_it_looks_like(line):
    assert "hunter2" not in blank(line)


@pytest.mark.parametrize(
    "line",
    [
        "ModuleNotFoundError: No module named 'jupyterlab'",
        'File "/opt/jupyter/lib/python3.11/site-packages/jupyter_server/serverapp.py", line 2977',
        "[I 2026-11-28 02:33:12.123 ServerApp] jupyter_lsp | extension was successfully linked.",
        "OSError: [Errno 122] Disk quota exceeded: '/home/alice/.local/share/jupyter/runtime'",
        "The token is too old; the server ended with status 3.",
        "status code: 403, state: preparing",
        "error: no token, log in again",
    ],
)
def test_what_helps_to_find_the_fault_stays(line):
    assert blank(line) == line


def test_the_block_says_what_support_needs():
    record = Record(
        id=HEX,
        hub_id="test-hub",
        cluster="pool",
        profile="interactive",
        account="alice",
        job_id="37.0",
        node="ep1.example.org",
        slot="notebook3@ep1.example.org",
        state=SessionState.STARTING,
        cause="failed",
        asked_at=1_795_269_600.0,
        queued_at=1_795_269_601.0,
        token_hash="a" * 64,
        key_hash="b" * 64,
    )
    text = support_text(
        record, "The server\nended with status 3.", tail=f"using {JWT}\nboom", software="Roost 1"
    )
    assert text.splitlines() == [
        f"session  test-hub/{HEX}",
        "cluster  pool",
        "profile  interactive",
        "job      37.0",
        "node     ep1.example.org",
        "slot     notebook3@ep1.example.org",
        "state    starting, failed",
        "asked    2026-11-21 14:00:00 UTC",
        "queued   2026-11-21 14:00:01 UTC",
        "said     The server ended with status 3.",
        "hub      Roost 1",
        "the server's last lines:",
        "  using [blanked]",
        "  boom",
    ]
    assert record.token_hash not in text
    assert record.key_hash not in text


def test_what_is_not_known_is_left_out():
    record = Record(id=HEX, hub_id="h", cluster="pool", profile="p", account="alice")
    text = support_text(record, "No.")
    assert [line.split()[0] for line in text.splitlines()] == [
        "session",
        "cluster",
        "profile",
        "state",
        "said",
    ]
