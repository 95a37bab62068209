"""What the job runs first: a few lines that load the agent from the hub and check its SHA-256.

The lines hold no secret: on HTCondor anyone can read them in the job's ad.  They run on Python 3.6.
A hub that is away, or is being upgraded, is asked again for two and a half minutes.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from urllib.parse import urlsplit

_CODE = """\
import hashlib, sys, time
from http.client import {kind} as C
for t in range(16):
    try:
        c = C({host!r}, timeout=20)
        c.request('GET', {path!r})
        r = c.getresponse()
        s = r.read()
        if r.status == 200 and hashlib.sha256(s).hexdigest() == {sha256!r}:
            break
        e = 'status %d, or not the agent that was pinned' % r.status
    except Exception as x:
        e = repr(x)
    sys.stderr.write('roost: cannot load the agent: ' + e + chr(10))
    time.sleep(min(2 ** t / 4, 15))
else:
    sys.exit(75)
n = dict(__name__='roost_agent')
exec(compile(s, 'roost-agent', 'exec'), n)
sys.exit(n['main']({api!r}, {session!r}, globals().get('ticket', ''), c))
"""


def bootstrap_code(hub_api: str, session_id: str, sha256: str) -> str:
    """Return Python source that loads and runs the agent for one session.

    Parameters
    ----------
    hub_api
        Base URL of the handoff interface, with a trailing slash.
    session_id
        The session's random id.
    sha256
        The agent's SHA-256 in hex: a proxy in between cannot slip in another program.

    Returns
    -------
    str
        Source.  It takes a variable ``ticket`` from its scope, if there is one.
    """
    url = urlsplit(hub_api)
    return _CODE.format(
        kind="HTTPSConnection" if url.scheme == "https" else "HTTPConnection",
        host=url.netloc,
        path=f"{url.path}agent/{sha256}.py",
        sha256=sha256,
        api=hub_api,
        session=session_id,
    )


@functools.cache
def agent_source() -> tuple[bytes, str]:
    """Return the agent's source and its SHA-256 in hex."""
    source = Path(__file__).with_name("agent.py").read_bytes()
    return source, hashlib.sha256(source).hexdigest()
