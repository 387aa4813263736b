"""Binding: one port for all addresses of a host, unix sockets with their files, and one line for what can't be had."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from torchserve.core.config.address import Address
from torchserve.core.errors import InvalidConfig
from torchserve.http.transport.listener import _bind_places, bind, same_socket


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
        (Address("0.0.0.0", 1), Address("::", 1), True), (Address("0.0.0.0", 0), Address("::", 0), False),
        (Address("::1", 1), Address("::", 1), False),
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


# ---- both IP versions, in namespaces of networks in which IPv6 is as the row says

_HOSTS = "127.0.0.1 localhost two\n::1 localhost two six\n"
_BIND = """
import asyncio, socket, sys
from torchserve.core.config.address import parse_address
from torchserve.core.errors import InvalidConfig
from torchserve.http.transport.listener import bind

async def main():
    try:
        bound = await bind(parse_address(sys.argv[1]), "x")
    except InvalidConfig as error:
        return print(error)
    reached = []
    for host in ("127.0.0.1", "::1"):
        try:
            with socket.create_connection((host, bound.address.port), 60):
                reached.append(host)
        except OSError:
            pass
    print(bound.address.host, bound.reach, *reached)

asyncio.run(main())
"""


def in_network(hosts: Path, ipv6: bool, script: str, *arguments: str) -> str:
    """What `script` prints in a network of its own, with its own /etc/hosts. Skips where namespaces can't be had."""
    prepare = f"mount --bind {hosts} /etc/hosts && ip link set lo up"
    if not ipv6:
        prepare += " && echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6"
    command = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-n", "-m", "sh", "-c"]
    if (
        not (shutil.which("unshare") and shutil.which("ip"))
        or subprocess.run([*command, prepare], check=False).returncode
    ):
        pytest.skip("this system lets nobody make a namespace")
    run = f'{prepare} && exec "$@"'
    done = subprocess.run(
        [*command, run, "sh", sys.executable, "-c", script, *arguments],
        check=True, stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("address", "ipv6", "printed"),
    [
        ("http://0.0.0.0:0", True, "0.0.0.0 network 127.0.0.1 ::1"),
        ("http://[::]:0", True, ":: network 127.0.0.1 ::1"),
        ("http://localhost:0", True, "localhost loopback 127.0.0.1 ::1"),
        ("http://two:0", True, "two loopback 127.0.0.1 ::1"),
        ("http://six:0", True, "six loopback ::1"),
        ("http://127.0.0.1:0", True, "127.0.0.1 loopback 127.0.0.1"),
        ("http://[::1]:0", True, "::1 loopback ::1"),
        ("http://0.0.0.0:0", False, "0.0.0.0 network 127.0.0.1"),
        ("http://localhost:0", False, "localhost loopback 127.0.0.1"),
        ("http://two:0", False, "two loopback 127.0.0.1"),
        ("http://[::1]:0", False, "x: can't listen on http://[::1]:0: cannot assign requested address (this machine"
         " has no such address)"),
    ],
)  # fmt: skip
def test_who_reaches_an_address(tmp_path: Path, address: str, ipv6: bool, printed: str) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(_HOSTS)
    assert in_network(hosts, ipv6, _BIND, address) == printed


async def test_a_kernel_without_a_family() -> None:
    """As IPv6 is to a kernel started with ipv6.disable=1: there is no such socket. Family 99 is nobody's."""
    unknown = (99, ("::", 0, 0, 0))
    bound = _bind_places(Address("::", 0), [unknown, (socket.AF_INET, ("0.0.0.0", 0))])
    assert [each.family for each in bound.sockets] == [socket.AF_INET]
    assert bound.address.host == "0.0.0.0", "its starter connects to the address that it is told"
    close(bound)
    with pytest.raises(OSError, match="not supported"):
        _bind_places(Address("::1", 0), [unknown])


async def test_a_port_that_is_taken_in_the_other_ip_version_is_named() -> None:
    with socket.socket(socket.AF_INET6) as holder:
        try:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            holder.bind(("::", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(
            InvalidConfig, match=f"^x: can't listen on http://0.0.0.0:{port}: ::: address already in use"
        ):
            await bind(Address("0.0.0.0", port), "x")
