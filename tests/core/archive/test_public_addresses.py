"""Which addresses are public, and which are a cloud's metadata service, in each form that carries an IPv4 address."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.archive.allowed_urls import AllowedUrls
from torchserve.core.archive.public_addresses import is_metadata, is_public
from torchserve.core.errors import ArchiveNotFound

PUBLIC = ["93.184.216.34", "8.8.8.8", "1.1.1.1", "192.0.1.1", "198.20.0.1", "223.255.255.255", "172.32.0.1"]
PUBLIC_6 = [
    "2606:2800:220:1::1",
    "2001:4860:4860::8888",
    "2001:200::1",
    "2a00::1",
    "3ffe::1",
    "2600:5efe::5efe:8.8.8.8",
]
METADATA = [
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.42.42", "168.63.129.16", "100.100.100.200",
    "100.88.222.5", "192.0.0.192", "192.80.8.124",
]  # fmt: skip
METADATA_6 = [
    "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fe80::a9fe:a9fe",
    "fe80::a9fe:a9fe%eth0",
]  # fmt: skip
INSIDE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "172.16.3.4", "172.31.255.255", "192.0.0.1",
    "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
]  # fmt: skip
INSIDE_6 = [
    "::", "::1", "100::1", "2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1", "3fff:fff::1",
    "5f00::1", "64:ff9b:1::1", "fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "4000::1",
]  # fmt: skip
# Forms of IPv6 that carry an IPv4 address: those that may be public with it, and those that never are.
CARRIED = ["::ffff:{}", "64:ff9b::{}", "2002:{hex}::1", "2600:1::5efe:{}", "2600:1::200:5efe:{}"]
NEVER = ["::{}", "::ffff:0:{}", "64:ff9b:1::{}", "2001:0:{hex}::1", "2001:0:808:808:0:0:{inverted}"]


def carrying(form: str, address: str) -> IPv6Address:
    number = int(IPv4Address(address))
    inverted = number ^ 0xFFFFFFFF
    words = {"hex": f"{number >> 16:x}:{number & 0xFFFF:x}", "inverted": f"{inverted >> 16:x}:{inverted & 0xFFFF:x}"}
    return IPv6Address(form.format(address, **words))


@pytest.mark.parametrize("address", PUBLIC + PUBLIC_6)
def test_public(address: str):
    assert (is_public(ip_address(address)), is_metadata(ip_address(address))) == (True, False)


@pytest.mark.parametrize("address", INSIDE + INSIDE_6)
def test_not_public(address: str):
    assert (is_public(ip_address(address)), is_metadata(ip_address(address))) == (False, False)


@pytest.mark.parametrize("address", METADATA + METADATA_6)
def test_metadata(address: str):
    assert (is_public(ip_address(address)), is_metadata(ip_address(address))) == (False, True)


@pytest.mark.parametrize("form", CARRIED + NEVER)
@pytest.mark.parametrize("address", PUBLIC + INSIDE + METADATA)
def test_an_address_inside_of_another(address: str, form: str):
    found = carrying(form, address)
    assert is_metadata(found) is (address in METADATA)
    assert is_public(found) is (form in CARRIED and address in PUBLIC)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_nothing_is_public_that_this_python_calls_private(address: IPv4Address | IPv6Address):
    """Its own table is older than ours in places, never wider, but for the NAT64 prefix, which says where it leads."""
    if is_public(address) and address not in ip_network("64:ff9b::/96"):
        assert not (address.is_private or address.is_multicast or address.is_link_local or address.is_loopback)


@pytest.mark.parametrize("address", METADATA + METADATA_6 + [str(carrying(form, METADATA[0])) for form in CARRIED])
@pytest.mark.parametrize("patterns", [None, [".*"]])
def test_no_pattern_permits_a_metadata_service(
    patterns: Sequence[str] | None, address: str, monkeypatch: pytest.MonkeyPatch
):
    """Also among other addresses, as a hostile name server mixes them."""
    answers = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, 80, 0, 0)) for each in ("93.184.216.34", address)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(ArchiveNotFound, match=f"^The host h has the address {address}, a cloud's metadata service$"):
        AllowedUrls(patterns).resolve("h", 80)


@pytest.mark.parametrize("address", ["192.0.0.1", "3fff::1", "10.0.0.1"])
def test_a_pattern_permits_other_addresses(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, socket.SOCK_STREAM, 6, "", (address, 80))])
    assert AllowedUrls([".*"]).resolve("h", 80) == [address]
    with pytest.raises(ArchiveNotFound, match="which is not public; name it in allowed_urls to permit it"):
        AllowedUrls().resolve("h", 80)
