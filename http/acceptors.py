"""Acceptors: the processes that share the reading of one listener's predictions: started, replaced, drained, ended."""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..core.errors import InvalidConfig
from .desk import Desk
from .relay import Drain, Keys, SetUp, Stop
from .reply import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from .services import Services

log = logging.getLogger(__name__)

_START = 30.0  # seconds that an acceptor may take until it listens
_END = 3.0  # seconds after which one that was told to stop is killed
_ACK = 5.0  # seconds for new keys to be taken over
_POLL = 0.005
_PAUSES = (0.1, 0.5, 2.0, 10.0, 30.0)  # seconds before the next start, after so many failures in a row
_STEADY = 60.0  # seconds after which a failure is no longer one in a row


class Acceptors:
    """`shares` has the sockets of each acceptor, bound to one address with SO_REUSEPORT. They stay open here, so that
    whoever connects while an acceptor is replaced waits for the next one. `full` makes aiohttp's protocol.
    """

    def __init__(
        self,
        shares: list[list[socket.socket]],
        services: Services,
        full: Callable[[], asyncio.BaseProtocol],
        keys: Keys | None = None,
    ) -> None:
        self._services = services
        self._full = full
        self._keys = keys
        self._members = [_Member(share, self) for share in shares]
        self._adopting: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Returns when all listen. Raises InvalidConfig if one does not."""
        for member in self._members:
            member.start()
        try:
            async with asyncio.timeout(_START):
                while not all(member.desk and member.desk.ready for member in self._members):
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise InvalidConfig(
                f"number_of_netty_threads={len(self._members)}: an acceptor did not listen within {_START:g} s"
            ) from None

    @property
    def pids(self) -> list[int]:
        return [member.popen.pid for member in self._members if member.popen is not None]

    @property
    def busy(self) -> bool:
        return bool(self._adopting) or any(member.desk and member.desk.busy for member in self._members)

    async def hold(self, keys: Keys) -> None:
        """Have every acceptor go by these keys, before anybody is told of them."""
        self._keys = keys
        waiting = [(desk, desk.holds + 1) for member in self._members if (desk := member.desk) is not None]
        for desk, _ in waiting:
            desk.say(keys)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ACK):
                while any(desk.holds < wanted and not desk.gone for desk, wanted in waiting):
                    await asyncio.sleep(_POLL)

    def drain(self) -> None:
        for member in self._members:
            member.drain()

    async def stop(self) -> None:
        _ = await asyncio.gather(*(member.stop() for member in self._members))
        _ = await asyncio.gather(*self._adopting)

    # ---- for the members

    def set_up(self, desk: Desk) -> None:
        services = self._services
        if self._keys is not None:
            desk.say(self._keys)
        fields = () if services.letterhead is PLAIN else services.letterhead.more
        desk.say(SetUp(asdict(services.limits), services.decode_input, services.scheduling_headers, fields))

    def desk(self, member: _Member) -> Desk:
        return Desk(self._services, member.adopt, member.lost)

    def adopt(self, connection: socket.socket, data: bytes) -> None:
        connection.setblocking(False)
        work = asyncio.get_running_loop().create_task(self._take_over(connection, data))
        self._adopting.add(work)
        work.add_done_callback(self._adopting.discard)

    async def _take_over(self, connection: socket.socket, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        _ = await loop.connect_accepted_socket(lambda: _Adopted(self._full, data), connection)


class _Adopted(asyncio.Protocol):
    """Gives a connection to aiohttp's protocol with the bytes that another process has read."""

    def __init__(self, full: Callable[[], asyncio.BaseProtocol], data: bytes) -> None:
        self._full = full
        self._data = data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        protocol = self._full()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        assert isinstance(protocol, asyncio.Protocol)
        protocol.data_received(self._data)


class _Member:
    """One acceptor, and its successors."""

    def __init__(self, sockets: list[socket.socket], acceptors: Acceptors) -> None:
        self._sockets = sockets
        self._acceptors = acceptors
        self._descriptors: socket.socket | None = None
        self._failures = 0
        self._began = 0.0
        self._ending = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self.popen: subprocess.Popen[bytes] | None = None
        self.desk: Desk | None = None

    def start(self) -> None:
        self._starting = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        ours, theirs = socket.socketpair()
        self._descriptors, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listen = [each.fileno() for each in self._sockets]
        command = [
            sys.executable, "-P", "-m", "torchserve.http.acceptor", "--link", str(theirs.fileno()),
            "--descriptors", str(given.fileno()), "--listen", *map(str, listen),
        ]  # fmt: skip
        with theirs, given:
            # Blocks for the milliseconds of a vfork and an exec, as the start of a worker does.
            self.popen = subprocess.Popen(  # noqa: ASYNC220
                command, env=os.environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), given.fileno(), *listen), start_new_session=True,
            )  # fmt: skip
        ours.setblocking(False)
        self._descriptors.setblocking(False)
        desk = self.desk = self._acceptors.desk(self)
        _ = await loop.create_unix_connection(lambda: desk.link, sock=ours)
        self._acceptors.set_up(desk)

    def adopt(self, data: bytes) -> None:
        assert self._descriptors is not None
        _, ancillary, _, _ = self._descriptors.recvmsg(1, socket.CMSG_SPACE(4))
        (number,) = array.array("i", ancillary[0][2])
        self._acceptors.adopt(socket.socket(fileno=number), data)

    def lost(self) -> None:
        self._starting = asyncio.get_running_loop().create_task(self._replace())

    def drain(self) -> None:
        self._ending.set()
        self._close_sockets()
        if self.desk is not None and not self.desk.gone:
            self.desk.busy = True
            self.desk.say(Drain())

    async def stop(self) -> None:
        self._ending.set()
        self._close_sockets()
        if self._starting is not None:
            await self._starting
        if self.desk is not None and not self.desk.gone:
            self.desk.say(Stop())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END):
                    while not self.desk.gone:
                        await asyncio.sleep(_POLL)
            self.desk.link.close()
        await asyncio.sleep(0)  # for `lost` to be told
        if self._starting is not None:
            await self._starting
        await self._reap()

    async def _replace(self) -> None:
        await self._reap()
        if self._ending.is_set():
            return
        loop = asyncio.get_running_loop()
        self._failures = 0 if loop.time() - self._began > _STEADY else self._failures + 1
        pause = _PAUSES[min(self._failures, len(_PAUSES)) - 1] if self._failures else 0.0
        log.error("an acceptor ended by itself, and its connections with it; the next one starts in %g s", pause)
        with contextlib.suppress(TimeoutError):
            _ = await asyncio.wait_for(self._ending.wait(), pause)
        if not self._ending.is_set():
            await self._start()

    async def _reap(self) -> None:
        popen, self.popen = self.popen, None
        if popen is not None:
            popen.kill()
            _ = await asyncio.to_thread(popen.wait)
        if self._descriptors is not None:
            self._descriptors.close()
            self._descriptors = None

    def _close_sockets(self) -> None:
        for each in self._sockets:
            each.close()
