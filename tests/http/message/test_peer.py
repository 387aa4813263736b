"""Peer: whose process is at the other end, by the kernel's word, over TCP of both versions and a unix socket."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from torchserve.http.message import socket_user
from torchserve.http.message.peer import Peer
from torchserve.http.message.socket_user import known_user, user_of_socket

ME = os.geteuid()
NOBODY = 65534
# A client as another user, which stays until its standard input ends. That user may not be able to import anything.
_CLIENT = """
import os, socket, sys
os.setgid({user}); os.setuid({user})
made = socket.socket()
made.connect(("127.0.0.1", int(sys.argv[1])))
sys.stdin.read()
"""


def pair(family: socket.AddressFamily, host: str) -> tuple[socket.socket, socket.socket]:
    """A client's socket, and the server's end of its connection."""
    with socket.socket(family) as listening:
        listening.bind((host, 0))
        listening.listen()
        client = socket.socket(family)
        client.connect(listening.getsockname())
        server, _ = listening.accept()
    return client, server


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    try:
        client, server = pair(*request.param)
    except OSError as error:
        pytest.skip(f"no such loopback: {error}")
    yield client, server
    client.close()
    server.close()


def user_of(server: socket.socket) -> int | None:
    return user_of_socket(server.getpeername(), server.getsockname())


def test_the_user_of_an_open_connection(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    assert user_of(server) == ME
    assert user_of(client) == ME


def test_a_connection_that_its_client_has_ended_has_no_user(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    there = server.getpeername(), server.getsockname()
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    assert user_of_socket(*there) is None
    client.close()
    server.close()
    assert user_of_socket(*there) is None


def test_a_connection_whose_server_has_ended_its_side_still_has_one(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    server.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    assert user_of(server) == ME


def test_a_port_that_another_server_s_client_has_is_no_match(ends: tuple[socket.socket, socket.socket]) -> None:
    _, server = ends
    host, port, *rest = server.getsockname()
    assert user_of_socket(server.getpeername(), (host, port + 1, *rest)) is None


@pytest.mark.parametrize(
    "addresses",
    [
        (("192.0.2.1", 4000), ("192.0.2.2", 8080)),
        (("::1", 4000, 0, 0), ("127.0.0.1", 8080)),
        (("fe80::1%lo", 4000, 0, 1), ("fe80::2%lo", 8080, 0, 1)),
    ],
)
def test_what_is_no_connection_of_this_machine_has_no_user(addresses: tuple[tuple[Any, ...], tuple[Any, ...]]) -> None:
    assert user_of_socket(*addresses) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"short",
        (36).to_bytes(4, sys.byteorder) + (2).to_bytes(2, sys.byteorder) + bytes(200),  # NLMSG_ERROR
    ],
)
def test_what_the_kernel_does_not_answer_is_nobody(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_user, "_asked", lambda _question: answer)
    assert user_of_socket(("127.0.0.1", 1), ("127.0.0.1", 2)) is None


def test_a_system_without_netlink_knows_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_question: bytes) -> bytes:
        raise PermissionError

    monkeypatch.setattr(socket_user, "_asked", refused)
    assert user_of_socket(("127.0.0.1", 1), ("127.0.0.1", 2)) is None


def test_the_number_for_all_users_that_have_none_is_nobody_s() -> None:
    assert known_user(NOBODY) == (NOBODY if ME == NOBODY else None)
    assert known_user(1000) == 1000


@pytest.mark.skipif(ME != 0, reason="only root can become another user")
def test_a_client_of_another_user_is_that_user_s() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        port = listening.getsockname()[1]
        command = [sys.executable, "-c", _CLIENT.format(user=1234), str(port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as client:
            server, _ = listening.accept()
            with server:
                assert user_of(server) == 1234
            client.communicate()


async def peers(listen: Callable[[Any], Any], connect: Callable[[], Any]) -> tuple[Peer, int | None]:
    """The server's view of a client that connects, and its user."""
    seen: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()

    class Taking(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen.set_result(Peer.of(transport))

    server = await listen(Taking)
    _, writer = await connect()
    found = await seen
    user = found.user
    writer.close()
    server.close()
    return found, user


async def test_a_peer_over_tcp() -> None:
    loop = asyncio.get_running_loop()
    ports: list[int] = []

    async def listen(protocol: Any) -> Any:
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        return server

    found, user = await peers(listen, lambda: asyncio.open_connection("127.0.0.1", ports[0]))
    assert (found.partition(":")[0], user, found.user) == ("127.0.0.1", ME, ME)


async def test_a_peer_over_a_unix_socket(tmp_path: Path) -> None:
    loop, path = asyncio.get_running_loop(), str(tmp_path / "s")
    found, user = await peers(
        lambda protocol: loop.create_unix_server(protocol, path), lambda: asyncio.open_unix_connection(path)
    )
    assert (str(found), user) == ("unknown", ME)
