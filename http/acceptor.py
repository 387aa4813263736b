"""An acceptor: a process beside the main one that reads predictions and writes their answers, and nothing else.

`python -m torchserve.http.acceptor` is started by acceptors.py. It ends at the end of its link, and so with the server.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import uvloop

from ..core.key_file import KeyFile
from ..core.tokens import Token, Tokens
from .auth import Guard
from .lean import Lean, LeanAcceptor
from .limits import Limits
from .listener import BACKLOG
from .relay import Busy, Drain, Handed, Holds, Keys, Link, Ready, SetUp, Stop, ToAcceptor, Told
from .remote import Expectation, RemotePlane
from .reply import PLAIN, Letterhead
from .services import Services

if TYPE_CHECKING:
    from ..core.errors import ServeError
    from .predict import Prediction

_POLL = 0.01  # seconds
_LAST_BYTES = 1.0  # seconds


class OutpostLean(Lean):
    """Lean, where what is not plain goes to the main process: the connection itself, with what was read from it."""

    __slots__ = ()

    def _arrive(self, prediction: Prediction, body: bytes, length: int) -> None:
        expectation = prediction.expect()
        if isinstance(expectation, Expectation):
            expectation.refused = self._refused
        self._await(expectation, body, length)

    def _refused(self, error: ServeError) -> None:
        prediction = self._prediction
        if self._arrival is not None and prediction is not None:
            self._arrived()
            prediction.fail(error, unread=True)

    def _hand_over(self, transport: asyncio.Transport, data: bytes) -> None:
        transport.pause_reading()
        if transport.get_write_buffer_size():  # an earlier answer has to be gone first
            self._rest = data
            asyncio.get_running_loop().call_later(_POLL, self._hand_over_later)
            return
        self._acceptor.connections.discard(self)
        self._transport = None
        cast("OutpostAcceptor", self._acceptor).hand_over(transport, data)

    def _hand_over_later(self) -> None:
        if self._transport is not None:
            data, self._rest = self._rest, b""
            self._hand_over(self._transport, data)


class OutpostAcceptor(LeanAcceptor):
    def __init__(self, services: Services, link: Link[ToAcceptor], descriptors: socket.socket) -> None:
        super().__init__(asyncio.Protocol, services)
        self._link = link
        self._descriptors = descriptors

    def __call__(self) -> asyncio.Protocol:
        return OutpostLean(self)

    def hand_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """The descriptor first, so that it is there when the main process reads the message."""
        number = cast("socket.socket", transport.get_extra_info("socket")).fileno()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [number]))]
        self._descriptors.sendmsg([b"c"], rights)
        self._link.say(Handed(data))
        transport.abort()  # closes this process's descriptor; the connection is open in the other


class Outpost:
    """Serves the sockets that it was given until it is told to stop or the main process has gone."""

    def __init__(self, sockets: list[socket.socket], descriptors: socket.socket) -> None:
        self._sockets = sockets
        self._descriptors = descriptors
        self._ended = asyncio.Event()
        self._link: Link[ToAcceptor] = Link(ToAcceptor, self._take, self._ended.set)
        self._plane = RemotePlane(self._link.say)
        self._services: Services | None = None
        self._keys: Keys | None = None
        self._acceptor: OutpostAcceptor | None = None
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, link: socket.socket) -> None:
        logging.getLogger().addHandler(_ToMain(self._link))
        _ = await asyncio.get_running_loop().create_unix_connection(lambda: self._link, sock=link)
        _ = await self._ended.wait()

    def _take(self, message: ToAcceptor) -> None:
        if isinstance(message, SetUp):
            self._begin(self._serve(message))
        elif isinstance(message, Keys):
            self._hold(message)
        elif isinstance(message, Drain):
            self._begin(self._drain())
        elif isinstance(message, Stop):
            self._begin(self._stop())
        else:
            self._plane.take(message)

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, how: SetUp) -> None:
        services = self._services = Services(
            cast("Any", self._plane), cast("Any", None), cast("Any", self._plane), self._plane.access,
            Limits(**cast("Any", how.limits)), decode_input=how.decode_input,
            scheduling_headers=how.scheduling_headers, guard=_guard(self._keys),
            letterhead=Letterhead(how.fields) if how.fields else PLAIN,
        )  # fmt: skip
        self._acceptor = OutpostAcceptor(services, self._link, self._descriptors)
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            self._servers.append(await loop.create_server(self._acceptor, sock=each, backlog=BACKLOG))
        self._link.say(Ready())

    def _hold(self, keys: Keys) -> None:
        self._keys = keys
        if self._services is not None:
            self._services.guard = _guard(keys)
        self._link.say(Holds())

    async def _drain(self) -> None:
        self._close_servers()
        said: bool | None = None
        while self._acceptor is not None:
            busy = self._acceptor.busy
            if busy is not said:
                self._link.say(Busy(busy))
            said = busy
            await asyncio.sleep(_POLL)

    async def _stop(self) -> None:
        self._close_servers()
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            left = _LAST_BYTES / _POLL
            acceptor.close()
            while acceptor.connections and (left := left - 1) > 0:
                await asyncio.sleep(_POLL)
        self._link.close()

    def _close_servers(self) -> None:
        if self._services is not None:
            self._services.draining = True
        for server in self._servers:
            server.close()


class _ToMain(logging.Handler):
    """What is logged here is written there."""

    def __init__(self, link: Link[ToAcceptor]) -> None:
        super().__init__()
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        self._link.say(Told(record.levelno, record.name, self.format(record)))


def _guard(keys: Keys | None) -> Guard | None:
    if keys is None:
        return None
    tokens = Tokens(keys.life, {cast("Any", kind): Token(key, expires) for kind, key, expires in keys.keys})
    return Guard(tokens, KeyFile(Path()), challenge=keys.challenge)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--link", type=int, required=True)
    parser.add_argument("--descriptors", type=int, required=True)
    parser.add_argument("--listen", type=int, nargs="+", required=True)
    arguments = parser.parse_args()
    link, descriptors, *sockets = (
        socket.socket(fileno=number) for number in (arguments.link, arguments.descriptors, *arguments.listen)
    )
    for each in (link, *sockets):
        each.setblocking(False)

    async def serve() -> None:
        await Outpost(sockets, descriptors).run(link)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
