"""Which hosts are no nodes, by name and by address."""

from __future__ import annotations

import ipaddress

import pytest
from roost_spawner.errors import ClusterUnreachable
from roost_spawner.nodes import NoNode, Services, host_of, is_own, plain, refusal

pytestmark = pytest.mark.unit

SERVICES = {
    "iam.example.org": frozenset([ipaddress.ip_address("192.0.2.5")]),
    "hub.example.org": frozenset([ipaddress.ip_address("2001:db8::5")]),
}
NODE = [ipaddress.ip_address("192.0.2.77"), ipaddress.ip_address("2001:db8::77")]


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://IAM.example.org.:8443/x", "iam.example.org"),
        ("cm.example.org:9618", "cm.example.org"),
        ("notebooks@ap.example.org", "ap.example.org"),
        ("<192.0.2.1:9618?addrs=192.0.2.1-9618&alias=ap>", "192.0.2.1"),
        ("<[2001:db8::1]:9618?addrs=x>", "2001:db8::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("", ""),
        ("http://:8000", ""),
        ("http://[", ""),
    ],
)
def test_a_host_is_found_in_whatever_names_it(text, host):
    assert host_of(text) == host


@pytest.mark.parametrize(
    "name", ["iam.example.org", "IAM.Example.org.", "localhost", "a.localhost"]
)
def test_a_services_name_is_no_node_whatever_it_resolves_to(name):
    assert refusal(name, NODE, SERVICES)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "fe80::1%eth0",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "192.0.2.5",
        "::ffff:192.0.2.5",
        "2001:db8::5",
    ],
)
def test_a_name_that_resolves_to_such_an_address_is_no_node(address):
    assert refusal("ep1.example.org", [NODE[0], plain(address)], SERVICES)


def test_a_nodes_name_and_addresses_are_taken():
    assert refusal("ep1.example.org", NODE, SERVICES) == ""


def test_this_hosts_own_address_is_known():
    assert is_own(ipaddress.ip_address("127.0.0.1"))
    assert not is_own(ipaddress.ip_address("192.0.2.77"))


async def test_an_address_of_a_service_is_refused_unless_the_admin_says_that_it_is_a_node():
    services = Services()
    hosts = ["https://192.0.2.5:8443/", "http://127.0.0.1:8001"]
    await services.check("192.0.2.77", hosts)
    with pytest.raises(NoNode) as refused:
        await services.check("192.0.2.5", hosts)
    assert "c.RoostSpawner.shared_nodes" in refused.value.detail
    assert "192.0.2.5" not in refused.value.sentence
    await services.check("192.0.2.5", hosts, shared=["192.0.2.5"])
    with pytest.raises(NoNode):
        await services.check("127.0.0.1", hosts)


async def test_a_name_that_does_not_resolve_is_no_refusal_for_good():
    with pytest.raises(ClusterUnreachable, match=r"cannot find the node ep1\.invalid"):
        await Services().check("ep1.invalid", [])
