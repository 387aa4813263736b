"""Binding: one port for all addresses of a host, unix sockets with their files, and one line for what can't be had."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from torchserve.core.config.address import Address
from torchserve.core.errors import InvalidConfig
from torchserve.http.transport.listener import bind, same_socket


@pytest.fixture
def umask() -> object:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def close(bound: object) -> None:
    for each in bound.sockets:  # type: ignore[attr-defined]
        each.close()
    bound.remove()  # type: ignore[attr-defined]


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


async def test_every_address_of_a_host_has_the_same_port() -> None:
    bound = await bind(Address("localhost", 0), "x")
    try:
        assert {each.getsockname()[1] for each in bound.sockets} == {bound.address.port}
        assert len({each.family for each in bound.sockets}) == len(bound.sockets) >= 1
    finally:
        close(bound)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("h", 1), "http://h:1"), (Address("::1", 1, tls=True), "https://[::1]:1"),
        (Address("", 0, path="/s"), "unix:/s"),
    ],
)  # fmt: skip
def test_how_it_is_shown(address: Address, text: str) -> None:
    assert str(address) == text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Address("h", 1), Address("h", 1), True), (Address("h", 0), Address("h", 0), False),
        (Address("h", 1), Address("h", 1, tls=True), False), (Address("h", 1), Address("g", 1), False),
        (Address("", 0, path="/s"), Address("", 0, path="/s"), True),
        (Address("", 0, path="/s"), Address("", 0, path="/t"), False),
    ],
)  # fmt: skip
def test_which_addresses_mean_one_socket(one: Address, other: Address, same: bool) -> None:
    assert same_socket(one, other) is same


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o640), (0o007, 0o660), (0o077, 0o600), (0, 0o660)])
async def test_a_unix_socket_is_never_everybodys(tmp_path: Path, umask: object, mask: int, mode: int) -> None:
    umask(mask)  # type: ignore[operator]
    bound = await bind(Address("", 0, path=str(tmp_path / "s")), "x")
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == mode
    close(bound)
    assert not (tmp_path / "s").exists()


async def test_the_socket_of_a_killed_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.listen()
    left.close()
    assert path.is_socket()
    bound = await bind(Address("", 0, path=str(path)), "x")
    assert connects(path)
    close(bound)


async def test_a_socket_that_somebody_listens_on_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(InvalidConfig, match=f"^x: can't listen on unix:{path}: .*another program listens there"):
            await bind(Address("", 0, path=str(path)), "x")
        assert connects(path)


@pytest.mark.parametrize("backlog", [0])
async def test_a_busy_socket_counts_as_listened_on(tmp_path: Path, backlog: int) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(backlog)
        callers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(str(path))
        with pytest.raises(InvalidConfig, match="another program listens there"):
            await bind(Address("", 0, path=str(path)), "x")
        for caller in callers:
            caller.close()


@pytest.mark.parametrize("what", ["file", "folder", "link"])
async def test_what_is_no_socket_is_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "s"
    if what == "file":
        path.write_text("mine")
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidConfig, match="something that is no socket is there"):
        await bind(Address("", 0, path=str(path)), "x")
    assert os.path.lexists(path)


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="no such file or directory"):
        await bind(Address("", 0, path=str(tmp_path / "gone" / "s")), "x")


async def test_another_servers_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    bound = await bind(Address("", 0, path=str(path)), "x")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        close(bound)
        assert path.is_socket()


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (Address("192.0.2.1", 0), "this machine has no such address"),
        (Address("no-such-host.invalid", 0), "that host name has no address"),
        (Address("127.0.0.1", 70000), "."),
    ],
)
async def test_what_can_not_be_had_is_one_line(address: Address, why: str) -> None:
    with pytest.raises(InvalidConfig, match=f"^the_address: can't listen on {address}: .*{why}") as caught:
        await bind(address, "the_address")
    assert "\n" not in caught.value.message


async def test_a_taken_port() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(InvalidConfig, match="another program listens there; stop it or choose another port"):
            await bind(Address("127.0.0.1", holder.getsockname()[1]), "x")
