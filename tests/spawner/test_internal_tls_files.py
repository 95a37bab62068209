from __future__ import annotations

import ipaddress
import time

import pytest
from certipy import Certipy
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from roost_spawner import tls

pytestmark = pytest.mark.unit

MARK = "roost-test/" + "0" * 32


@pytest.fixture
def store(tmp_path):
    location = str(tmp_path / "internal-ssl")
    certipy = Certipy(store_dir=location)
    bundles = certipy.trust_from_graph({"notebooks-ca": ["hub-ca", "proxy-client-ca"]})
    return location, bundles, certipy


def files(store, *names):
    location, bundles, _ = store
    issuer, trust = tls.authority(location), tls.trust(bundles)
    return tls.session_files(issuer, trust, mark=MARK, names=names)


def certificate(text):
    return x509.load_pem_x509_certificate(text.encode())


def alt_names(text):
    return certificate(text).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_the_certificate_names_the_node_and_nothing_local(store):
    made = files(store, "ep1.example.org", "hub.example.org", "DNS:extra.example.org", "192.0.2.7")
    names = alt_names(made["tls/server.crt"])
    assert names.get_values_for_type(x509.DNSName) == [
        "ep1.example.org",
        "hub.example.org",
        "extra.example.org",
    ]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.0.2.7")]


@pytest.mark.parametrize("text", ["IP:2001:db8::1", "2001:db8::1", "[2001:db8::1]"])
def test_addresses_are_addresses_in_a_certificate(text):
    assert tls.alt_name(text) == x509.IPAddress(ipaddress.ip_address("2001:db8::1"))


def test_the_notebooks_authority_signed_it_and_no_server_is_an_authority_itself(store):
    _, _, certipy = store
    shown = certificate(files(store, "ep1")["tls/server.crt"])
    signer = certipy.store.get_files("notebooks-ca").cert.load()
    shown.verify_directly_issued_by(signer)
    assert not shown.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert shown.not_valid_after_utc <= signer.not_valid_after_utc


def test_each_session_has_a_key_of_its_own_and_trusts_hub_proxy_and_its_agent_only(store):
    first, second = files(store, "ep1"), files(store, "ep1")
    for name in ("tls/server.key", "tls/probe.key"):
        assert isinstance(
            load_pem_private_key(first[name].encode(), None), ec.EllipticCurvePrivateKey
        )
        assert first[name] != second[name]
    trusted = x509.load_pem_x509_certificates(first["tls/ca.crt"].encode())
    assert [one.subject.rfc4514_string() for one in trusted] == [
        "CN=hub-ca",
        "CN=proxy-client-ca",
        "CN=roost-agent",
    ]
    assert first["tls/probe.crt"] in first["tls/ca.crt"]
    assert first["tls/probe.crt"] not in second["tls/ca.crt"]
    usage = certificate(first["tls/probe.crt"]).extensions.get_extension_for_class(
        x509.ExtendedKeyUsage
    )
    assert list(usage.value) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_nothing_of_a_session_is_left_with_the_hub(store, tmp_path):
    files(store, "ep1")
    before = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    made = files(store, "ep2")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == before
    kept = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert made["tls/server.key"] not in kept


def test_it_costs_the_hubs_loop_little(store):
    files(store, "ep1")
    times = []
    for _ in range(5):
        began = time.perf_counter()
        files(store, "ep1")
        times.append(time.perf_counter() - began)
    assert min(times) < 0.02  # 0.7 ms; an RSA key takes 70
