"""Accepting: takes the connections of one listening socket, and makes room where file descriptors run out.

asyncio's own servers stop for a second then, or, in uvloop, for good. Here connections that are idle are closed first,
the longest idle ones before the others; only where there are none the next ones wait in the kernel's queue.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Callable
from typing import Protocol

from ..message.seldom_warning import SeldomWarning

log = logging.getLogger(__name__)

_AT_ONCE = 64  # connections accepted before other work has its turn
_SHED_AT_ONCE = 32  # idle connections closed for those that come
_SOON = 0.01  # seconds, in which the descriptors of connections that are closed come back
_PAUSE = 1.0  # seconds, where there is nothing to close
_LEAST_SPARE = 32  # descriptors that connections leave for workers, models and logs: so many, and an eighth of all
_NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Connections(Protocol):
    """The connections of all listeners."""

    def open(self) -> int:
        """Return how many there are."""
        ...

    def shed(self, count: int) -> int:
        """Close at most `count` idle ones. Return how many that were."""
        ...


def most_connections() -> int:
    """Return how many connections there may be, so that something is left of the file descriptors."""
    try:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError:  # a sandbox refuses: 1024 is what most systems start processes with
        soft = 1024
    if soft == resource.RLIM_INFINITY:
        return 1 << 30
    return max(soft - _LEAST_SPARE - soft // 8, 1)


class Accepting:
    """A listening socket, each of whose connections `take` gets. `close` ends it."""

    def __init__(
        self, listening: socket.socket, take: Callable[[socket.socket], None], connections: Connections, most: int
    ) -> None:
        self._listening = listening
        self._take = take
        self._connections = connections
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._closed_idle = SeldomWarning(log)
        self._none_idle = SeldomWarning(log)
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accept nothing more."""
        if self._listening.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self._connections.open() >= self._most:
                self._make_room(f"there are {self._most}, all that the limit of open files leaves (ulimit -n)")
                return
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._make_room(f"{error.strerror} (ulimit -n)")
                return
            connection.setblocking(False)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._take(connection)

    def _make_room(self, why: str) -> None:
        """Have whoever connects wait until idle connections are closed or, where there are none, for a second."""
        count = self._connections.shed(_SHED_AT_ONCE)
        if count:
            self._closed_idle.warn("closed %d idle connection(s), to accept others: %s", count, why)
        else:
            self._none_idle.warn("new connections wait, as none could be closed for them: %s", why)
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(
            _SOON if count else _PAUSE, self._loop.add_reader, self._listening, self._accept
        )


class PlainServer:
    """A listening socket without TLS. `factory` makes the protocol of each connection."""

    def __init__(
        self,
        listening: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        connections: Connections,
        most: int,
    ) -> None:
        self._factory = factory
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._accepting = Accepting(listening, self._take, connections, most)

    def close(self) -> None:
        """Accept nothing more; connections stay."""
        self._accepting.close()

    def _take(self, connection: socket.socket) -> None:
        task = self._loop.create_task(self._begin(connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            _ = await self._loop.connect_accepted_socket(self._factory, connection)
        except OSError as error:  # the client has left already
            log.debug("no connection came about: %s", error)
            connection.close()
