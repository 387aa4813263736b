"""Bind an address: TCP sockets or a unix socket, listening. The file of a unix socket is removed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.config.address import Address
from ...core.errors import InvalidConfig
from ..site_policy import Reach

BACKLOG = 1024  # connections that the kernel holds until they are accepted
_HINTS = {
    errno.EADDRINUSE: "another program listens there; stop it or choose another port",
    errno.EACCES: "this user may not bind that port; choose one above 1023",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}
_UNIX_HINTS = {
    errno.EADDRINUSE: "another program listens there; stop it or choose another path",
    errno.EEXIST: "something that is no socket is there",
}
_EVERYWHERE = ((socket.AF_INET, ("0.0.0.0", 0)), (socket.AF_INET6, ("::", 0, 0, 0)))  # noqa: S104
_ATTEMPTS = 16  # to find a port that is free in both IP versions
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_NOT_OTHERS = 0o660  # to connect is to write: whom the umask lets, but never everybody


def same_socket(one: Address, other: Address) -> bool:
    """Return whether both addresses mean one socket. Port 0 never does: the system chooses another port each time."""
    return one.place == other.place and one.tls == other.tls and bool(one.port or one.path)


class BoundListener:
    """The listening sockets of an address, for servers to take; `address` has the port that was chosen."""

    def __init__(self, address: Address, sockets: list[socket.socket]) -> None:
        self.address = address
        self.sockets = sockets
        self._inode = _inode(address.path)

    @property
    def reach(self) -> Reach:
        """Who can connect."""
        if self.address.path:
            return "unix"
        hosts = (each.getsockname()[0].partition("%")[0] for each in self.sockets)
        return "loopback" if all(ipaddress.ip_address(host).is_loopback for host in hosts) else "network"

    def keep(self) -> None:
        """Leave a unix socket's file where it is at the end."""
        self._inode = None

    def remove(self) -> None:
        """Delete a unix socket's file, unless it is another server's by now."""
        path = self.address.path
        if self._inode is not None and self._inode == _inode(path):
            with contextlib.suppress(OSError):
                Path(path).unlink()
        self._inode = None


def take_passed(address: Address, passed: list[socket.socket]) -> BoundListener | None:
    """Return a listener of those sockets in `passed` that are at `address`, which are removed from it; None if none is.

    Another process has opened them, and removes the file of a unix socket.
    """
    taken = [each for each in passed if _is_at(each, address)]
    if not taken:
        return None
    passed[:] = [each for each in passed if each not in taken]
    listener = BoundListener(address, taken)
    listener.keep()
    return listener


def _is_at(passed: socket.socket, address: Address) -> bool:
    place = passed.getsockname()
    if address.path or not isinstance(place, tuple):
        return place == address.path
    host, port = str(place[0]).partition("%")[0], place[1]
    return Address(host, port).place == Address(address.host, address.port).place


async def bind(address: Address, keys: str) -> BoundListener:
    """Bind `address` and listen. Raises InvalidConfig, naming the settings `keys`, if the address can't be had."""
    try:
        if address.path:
            return BoundListener(address, [_bind_unix(address.path)])
        return await _bind_tcp(address)
    except (OSError, OverflowError) as error:
        raise InvalidConfig(f"{keys}: can't listen on {address}: {_cause(address, error)}") from None


async def _bind_tcp(address: Address) -> BoundListener:
    """Bind every address of the host, all with one port.

    0.0.0.0 takes IPv6 connections as well, as in Java, whose sockets serve both; so does [::] those of IPv4.
    """
    if address.everywhere:
        places = _EVERYWHERE
    else:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        places = tuple(dict.fromkeys((family, place) for family, _, _, _, place in found))
    attempts = 1 if address.port else _ATTEMPTS
    while True:
        attempts -= 1
        try:
            return _bind_places(address, places)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not attempts:
                raise  # else the port that the system chose for the first place is taken at the next one


def _bind_places(address: Address, places: Iterable[tuple[int, tuple[Any, ...]]]) -> BoundListener:
    sockets: list[socket.socket] = []
    port = address.port
    missing: OSError | None = None
    try:
        for family, place in places:
            try:
                sockets.append(_bind_one(family, (place[0], port, *place[2:])))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise OSError(error.errno, error.strerror, place[0]) from None
                missing = error  # as ::1 of localhost, on a machine without IPv6
            else:
                port = sockets[-1].getsockname()[1]
    except BaseException:
        for each in sockets:
            each.close()
        raise
    if not sockets:
        raise missing or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    if missing is not None and address.everywhere:  # so that whoever is told the address can connect to it
        address = replace(address, host=sockets[0].getsockname()[0])
    return BoundListener(replace(address, port=port), sockets)


def _bind_one(family: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _bind_unix(path: str) -> socket.socket:
    _clear(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.bind(path)
        # Nobody can have connected in between: it does not listen yet.
        Path(path).chmod(stat.S_IMODE(Path(path).stat().st_mode) & _NOT_OTHERS)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _clear(path: str) -> None:
    """Remove the socket of a server that was killed: one that nobody listens on."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # its queue is full, so that somebody listens
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _inode(path: str) -> tuple[int, int] | None:
    if not path:
        return None
    try:
        found = Path(path).lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _cause(address: Address, error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "that host name has no address"
    if not isinstance(error, OSError) or not error.errno:
        return str(error)
    cause = os.strerror(error.errno).lower()
    if error.filename and error.filename != address.host and not address.path:
        cause = f"{error.filename}: {cause}"
    hint = (_UNIX_HINTS if address.path else _HINTS).get(error.errno)
    return f"{cause} ({hint})" if hint else cause
