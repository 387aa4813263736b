"""Where a listener binds: what an address may look like, and what beyond this machine can reach it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.config.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1", 8080),
        (" http://localhost:1 ", "localhost", 1),
        ("http://0.0.0.0", "0.0.0.0", 7),
        ("http://0.0.0.0/", "0.0.0.0", 7),
        ("http://[::1]:8080/", "::1", 8080),
        ("http://host:0", "host", 0),
        ("http://host:65535", "host", 65535),
        ("HTTP://Host:80", "host", 80),
        ("http://[fe80::1%25eth0]:80", "fe80::1%eth0", 80),
    ],
)
def test_accepted(text: str, host: str, port: int) -> None:
    assert parse_address(text, 7) == Address(host, port)
    assert parse_address(text.lower().replace("http:", "https:"), 7) == Address(host, port, tls=True)


@pytest.mark.parametrize(("without", "with_"), [(80, 443), (8081, 8444), (8082, 8445)])
def test_tls_has_default_ports_of_its_own(without: int, with_: int) -> None:
    assert parse_address("https://host", without) == Address("host", with_, tls=True)
    assert parse_address("https://host:8081", without).port == 8081


@pytest.mark.parametrize(
    ("text", "path"),
    [("unix:/run/ts.sock", "/run/ts.sock"), ("unix:///run/ts.sock", "/run/ts.sock"), (" UNIX:/a b ", "/a b")],
)
def test_unix_sockets(text: str, path: str) -> None:
    assert parse_address(text) == Address("", 0, path=path)
    assert str(parse_address(text)) == f"unix:{path}"
    assert parse_address(text).loopback


def test_port_80_is_the_default() -> None:
    assert parse_address("http://host").port == 80


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("foo", "Invalid binding address: foo"),
        ("", "Invalid binding address"),
        ("127.0.0.1:8080", "Invalid binding address"),
        ("http://", "Invalid binding address"),
        ("http://:8080", "Invalid binding address"),
        ("http://host:80/path", "Invalid binding address"),
        ("http://host:80?query=1", "Invalid binding address"),
        ("ftp://host:80", "Invalid binding address"),
        ("https://host:80/path", "Invalid binding address"),
        ("https://host:65536", "Invalid port in binding address"),
        ("unix:", "unix: needs the whole path"),
        ("unix:sock", "unix: needs the whole path"),
        ("unix:/run/", "unix: needs the whole path"),
        ("unix:/a\0b", "unix: needs the whole path"),
        ("unix:/" + "\xe9" * 54, "at most 107 bytes"),
        ("http://host:65536", "Invalid port in binding address"),
        ("http://host:-1", "Invalid port in binding address"),
        ("http://host:eighty", "Invalid port in binding address"),
        ("http://[::1", "Invalid IPv6 URL"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
        ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False), ("localhost.example.org", False),
    ],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    assert Address(host, 80).loopback is loopback


@given(
    st.sampled_from(["127.0.0.1", "::1", "fe80::1", "host", "a.example"]),
    st.integers(0, 65535),
    st.booleans(),
)
def test_an_address_reads_back(host: str, port: int, tls: bool) -> None:
    address = Address(host, port, tls)
    assert parse_address(str(address)) == address


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = parse_address(text)
        assert address.host or address.path
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("text", "everywhere"),
    [
        ("http://0.0.0.0:1", True), ("http://[::]:1", True), ("http://[0:0:0:0:0:0:0:0]:1", True),
        ("http://127.0.0.1:1", False), ("http://[::1]:1", False), ("http://localhost:1", False), ("unix:/s", False),
    ],
)  # fmt: skip
def test_which_addresses_mean_every_address(text: str, everywhere: bool) -> None:
    address = parse_address(text)
    assert address.everywhere is everywhere
    assert (address.place == parse_address("http://0.0.0.0:1").place) is everywhere
