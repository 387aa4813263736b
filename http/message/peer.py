"""Peer: the other end of a connection: its address as text, and whose process it is, if that is on this machine."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, Self

from ..accesslog import peer_text
from .socket_user import known_user, user_of_socket

_CREDENTIALS = struct.Struct("=iII")  # ucred: process, user, group


class Peer(str):
    """A client's address as the access log shows it, `127.0.0.1:51234`. `user` is asked for where it matters alone."""

    __slots__ = ("_ends", "_user")
    _ends: tuple[Any, Any] | None
    _user: int | None

    @classmethod
    def of(cls, transport: asyncio.BaseTransport) -> Self:
        """Return the peer of a connection."""
        name = transport.get_extra_info("peername")
        made = cls(peer_text(name))
        made._ends, made._user = None, None
        if isinstance(name, tuple):
            made._ends = name, transport.get_extra_info("sockname")
        else:
            made._user = _user_of_unix(transport.get_extra_info("socket"))
        return made

    @property
    def user(self) -> int | None:
        """The user (uid) whose process made the connection; None for one of another machine, or if nobody can say."""
        if self._ends is not None:
            (client, server), self._ends = self._ends, None
            self._user = user_of_socket(client, server) if server else None
        return self._user


def _user_of_unix(connected: socket.socket | None) -> int | None:
    if connected is None or connected.family != socket.AF_UNIX:
        return None
    try:
        data = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return None
    _, user, _ = _CREDENTIALS.unpack(data)
    return known_user(user)
