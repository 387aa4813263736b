"""Sockets that a service manager has opened: used for the address that they have, and left to it at the end."""

from __future__ import annotations

import socket
from pathlib import Path

import aiohttp
import pytest

from torchserve.core.config.address import Address
from torchserve.http.transport.listener import take_passed

from ..doubles import running_front


def listening(family: socket.AddressFamily, place: object) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    made.bind(place)
    made.listen()
    return made


async def test_a_passed_socket_is_served_and_what_is_left_over_is_told(caplog: pytest.LogCaptureFixture) -> None:
    passed, other = (listening(socket.AF_INET, ("127.0.0.1", 0)) for _ in range(2))
    kept = passed.dup()  # as the service manager keeps it
    port = passed.getsockname()[1]
    listen = {"inference": Address("127.0.0.1", port), "management": Address("127.0.0.1", 0)}
    with kept:
        async with running_front(listen=listen, passed=(passed, other)) as h, aiohttp.ClientSession() as client:
            async with client.post(h.url("/predictions/m"), data=b"hello") as response:
                assert await response.read() == b"hello"
            assert h.front.bound["inference"].port == port
        assert "is not used: no API has that address" in caplog.text
        assert other.fileno() == -1
        with socket.create_connection(("127.0.0.1", port)):
            pass  # waits for the next server


def test_unix_sockets_are_found_by_their_path_and_left_there(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    passed = [listening(socket.AF_UNIX, path)]
    assert take_passed(Address("", 0, path=str(tmp_path / "another")), passed) is None
    found = take_passed(Address("", 0, path=path), passed)
    assert found is not None
    assert (found.reach, passed) == ("unix", [])
    found.remove()
    assert Path(path).exists()
    found.sockets[0].close()


@pytest.mark.parametrize(
    ("host", "wanted", "taken"),
    [
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "::", True),
        ("127.0.0.1", "0.0.0.0", False),
        ("0.0.0.0", "127.0.0.1", False),
    ],
)
def test_addresses_are_compared_by_what_they_mean(host: str, wanted: str, taken: bool) -> None:
    made = listening(socket.AF_INET, (host, 0))
    with made:
        found = take_passed(Address(wanted, made.getsockname()[1]), [made])
        assert (found is not None) == taken
        assert take_passed(Address(wanted, 0), [made]) is None, "port 0 is no port that was passed"
