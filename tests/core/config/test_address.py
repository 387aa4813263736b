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
    ],
)
def test_accepted(text: str, host: str, port: int) -> None:
    assert parse_address(text, 7) == Address(host, port)


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
        ("https://host:80", "https: addresses are not supported"),
        ("unix:/tmp/sock", "unix: addresses are not supported"),
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
)
def test_an_address_reads_back(host: str, port: int) -> None:
    address = Address(host, port)
    assert parse_address(str(address)) == address


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        assert parse_address(text).host
    except ValueError:
        pass
