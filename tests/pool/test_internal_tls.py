"""Internal TLS on the real pool: what travels to a node is encrypted, and nobody else may call."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.pool

ABOUT = """
import json, os, socket, urllib.parse
url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
files = {name: os.environ["JUPYTERHUB_SSL_" + name] for name in ("KEYFILE", "CERTFILE")}
print(json.dumps({"node": socket.gethostname(), "scheme": url.scheme, "port": url.port,
                  "base": url.path, "key": open(files["KEYFILE"]).read(), **files}))
"""

# What a stranger tries; prints what came of it.  Certificates are not looked at: they are the
# server's to check here.
CALL = """
import json, socket, ssl, sys
host, port, base, kind, crt, key = sys.argv[1:7]
answer, names = b"", []
try:
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        wire = plain
        if kind != "plain":
            context = ssl._create_unverified_context()
            if crt:
                context.load_cert_chain(crt, key)
            wire = context.wrap_socket(plain, server_hostname=host)
            print("encrypted", wire.version())
        wire.sendall(b"GET " + base.encode() + b"api HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n")
        while True:
            more = wire.recv(65536)
            if not more:
                break
            answer += more
except OSError as error:
    print("refused", type(error).__name__, getattr(error, "reason", ""))
print("answer", answer.decode("latin-1"))
"""

# The node's own name is in the certificate that it shows, and the authority is the notebooks'.
LOOK = """
import socket, ssl, subprocess, sys
host, port = sys.argv[1:3]
context = ssl._create_unverified_context()
with socket.create_connection((host, int(port)), timeout=5) as plain:
    with context.wrap_socket(plain, server_hostname=host) as wire:
        print(ssl.DER_cert_to_PEM_cert(wire.getpeercert(True)))
"""


def target(about):
    return f"{about['node'].partition('.')[0]}.roost.test"


def call(site, host, about, *, kind="tls", to=""):
    """Call the notebook as mallory, without a certificate."""
    where = [to or target(about), str(about["port"]), about["base"]]
    command = ["/usr/bin/python3", "-c", CALL, *where, kind, "", ""]
    return site.hosts[host].run(command, user="mallory", check=False).stdout


async def call_from_session(one, about, pair):
    argv = ["", target(about), str(about["port"]), about["base"], "tls", *pair]
    return "\n".join(await one.run(f"import sys; sys.argv = {argv!r}" + CALL))


def issued_to(pem):
    from cryptography import x509  # noqa: PLC0415 - for this helper alone

    certificate = x509.load_pem_x509_certificate(pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names.get_values_for_type(x509.DNSName)), certificate.issuer.rfc4514_string()


@pytest.mark.parametrize(
    ("profile", "elsewhere"), [("interactive", ("ep1", "ep2")), ("gpu", ("gpu1", "gpu2"))]
)
async def test_a_notebook_takes_the_hubs_and_the_proxys_calls_and_nobody_elses(
    testbed, person, profile, elsewhere
):
    alice, bob = person("alice"), person("bob")
    for one in (alice, bob):
        await one.login()
        await one.start(profile)
    try:
        # The main job works: the hub has seen it answer, and the cell's socket goes by the proxy.
        about, bobs = [json.loads((await one.run(ABOUT))[-1]) for one in (alice, bob)]
        node = about["node"].partition(".")[0]
        assert about["scheme"] == "https"
        for host in elsewhere:  # the node itself, and another
            plain = call(testbed, host, about, kind="plain")
            assert "HTTP/" not in plain
            without = call(testbed, host, about)
            assert "encrypted TLSv1." in without
            assert "refused" in without
            assert "HTTP/" not in without
        # On the node, over loopback too.
        assert "HTTP/" not in call(testbed, node, about, to="127.0.0.1")
        # Bob, from his own session, with what he has there: good for his own server only.
        folder = bobs["KEYFILE"].rpartition("/")[0]
        own = [bobs["CERTFILE"], bobs["KEYFILE"]]
        probe = [f"{folder}/probe.crt", f"{folder}/probe.key"]
        for pair in (own, probe):
            tried = await call_from_session(bob, about, pair)
            assert "refused" in tried
            assert "HTTP/" not in tried
        assert "HTTP/1." in await call_from_session(bob, bobs, probe)  # as his agent asks
        # What is shown is a certificate for this node, of the notebooks' authority.
        shown = testbed.hosts["hub"].run(
            ["/usr/bin/python3", "-c", LOOK, f"{node}.roost.test", str(about["port"])]
        )
        names, issuer = issued_to(shown.stdout)
        assert f"{node}.roost.test" in names
        assert "localhost" not in names
        assert issuer == "CN=notebooks-ca"
        # Mallory reads no key on the node.
        looked = testbed.hosts[node].run(["cat", about["KEYFILE"]], user="mallory", check=False)
        assert "PRIVATE" not in looked.stdout
        # The hub keeps no session's key.
        kept = (
            testbed.hosts["hub"]
            .run(["sh", "-c", "cat $(find /var/lib/roost -name '*.key')"])
            .stdout
        )
        assert "PRIVATE KEY" in kept
        assert about["key"] not in kept
    finally:
        for one in (alice, bob):
            await one.stop()
    gone = testbed.hosts[node].run(
        ["sh", "-c", f"cat {about['KEYFILE']} 2>/dev/null"], user="alice", check=False
    )
    assert gone.stdout == ""


@pytest.mark.parametrize(("host", "program"), [("hub", "/opt/roost"), ("ctl", "/opt/broker")])
def test_a_connection_that_breaks_does_not_end_the_others_under_the_pythons_that_are_shipped(
    testbed, host, program
):
    script = "/srv/roost/tests/support/broken_pipe.py"
    done = testbed.hosts[host].run([f"{program}/bin/python", script, "contained"])
    assert done.stdout.strip() == "SSLWantReadError"
