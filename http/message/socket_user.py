"""user_of_socket(): whose process is at the other end of a TCP connection within this machine, by the kernel's word.

The kernel is asked for the client's own socket, by the two addresses of the connection, and tells the user that made it
(NETLINK_SOCK_DIAG, as `ss -e` uses it). A client on another machine or in another network namespace has no socket here.
A socket that its process has closed has no user any more: the kernel says 0 of it, which must not pass for root's. So
nothing but a connection that is open counts.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from functools import cache
from pathlib import Path
from typing import Any, Final

_SOCK_DIAG: Final = 4  # the netlink family, NETLINK_SOCK_DIAG
_BY_FAMILY: Final = 20  # the message's type, SOCK_DIAG_BY_FAMILY
_REQUEST: Final = 1  # NLM_F_REQUEST: one socket, not a list
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_QUESTION = struct.Struct("=BBBBI")  # inet_diag_req_v2: family, protocol, extensions, padding, states
_ID = struct.Struct("!HH16s16s12s")  # inet_diag_sockid: ports, addresses, interface and cookie
_ANSWER = struct.Struct("=BB2x48xIIIII")  # inet_diag_msg: family, state, id, timer, two queues, user, inode
_ANY_SOCKET: Final = b"\0" * 4 + b"\xff" * 8  # every interface, INET_DIAG_NOCOOKIE
_OPEN: Final = frozenset((1, 8))  # TCP_ESTABLISHED, and TCP_CLOSE_WAIT: the server has ended its side
_SECONDS: Final = 1.0  # the kernel answers within the call


def user_of_socket(local: tuple[Any, ...], remote: tuple[Any, ...]) -> int | None:
    """Return the user whose process has the socket with these addresses as getsockname and getpeername tell them.

    None if this machine has no such socket, if it is not open any more, or if the kernel can't say.
    """
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    try:
        named = _ID.pack(local[1], remote[1], _packed(family, local[0]), _packed(family, remote[0]), _ANY_SOCKET)
        data = _asked(_QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + named)
    except (OSError, ValueError):  # no netlink, as in some sandboxes, or addresses of two families
        return None
    if len(data) < _HEADER.size + _ANSWER.size or _HEADER.unpack_from(data)[1] != _BY_FAMILY:
        return None
    _, state, _, _, _, user, _ = _ANSWER.unpack_from(data, _HEADER.size)
    return known_user(user) if state in _OPEN else None


def known_user(user: int) -> int | None:
    """Return `user`, or None if it stands for every user that this container has no number for."""
    return None if user == _overflow() and user != os.geteuid() else user


def _asked(question: bytes) -> bytes:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _SOCK_DIAG) as asking:
        asking.settimeout(_SECONDS)
        asking.send(_HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST, 1, 0) + question)
        return asking.recv(4096)


def _packed(family: socket.AddressFamily, host: str) -> bytes:
    return socket.inet_pton(family, host.partition("%")[0])


@cache
def _overflow() -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
    return 65534
