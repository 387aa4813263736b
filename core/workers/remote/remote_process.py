"""RemoteProcess: a worker's process on another host. To a Worker it is what a LocalProcess is, without shared memory.

WAITING ──► STARTING ──► FETCHING ──► LOADING ──► connected: the Worker talks to it
   │  placed     │ minder's   │ files are   │ backend's
   │             │ Hello      │ there       │ Hello
   └─────────────┴────────────┴─────────────┴──► `exited`, for a reason that names the node
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from ...process_stacks import PATIENCE, StacksUnknown
from ...wire.messages import Load, Loaded
from ...wire.remote_messages import (
    Alive,
    Exited,
    FromMinder,
    Hello,
    Kill,
    Leaving,
    Look,
    Need,
    Printed,
    RankFailed,
    Seen,
    Start,
    Started,
    Ticket,
)
from ..load_failed import LoadFailed
from .listener import Taker
from .minder_link import MinderLink
from .model_files import ModelFiles
from .placer import NotPlaced, Placer
from .remote_start import RemoteStart
from .tickets import Tickets

log = logging.getLogger(__name__)
T = TypeVar("T")

KILL_WAIT: Final = 10.0  # seconds after which a killed process counts as ended though its node hasn't said so
CONNECT_WAIT: Final = 60.0  # seconds in which a process that was started must connect

OnLine = Callable[[str, str], None]


class Shared(Protocol):
    """The part of RemoteWorkers that a process needs."""

    tickets: Tickets[Taker]
    placer: Placer
    beat: float
    waiting: dict[str, str]

    async def files_of(self, folder: Path) -> ModelFiles: ...
    def ticket(self, worker: str, epoch: int, taker: Taker) -> Ticket: ...


class RemoteProcess:
    """A process that is being started, runs or has run on another host.

    `exited` resolves to the return code (negative: the signal that killed it; 1 if it was lost), and `ending` then says
    how it ended, if the code doesn't. `where` names the node, for messages.
    """

    results = None
    lent = None

    def __init__(self, start: RemoteStart, workers: Shared, on_line: OnLine) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.ending = ""
        self.where = ""
        self.waiting = ""  # why it has no node yet
        self.memory = 0  # bytes in use, as the node reported last
        self.gpus = 0.0
        self.pids: list[int] = []
        self.evacuate: Callable[[str], None] | None = None
        self.rank_failed: Callable[[Loaded], None] | None = None
        self._model_dir = ""  # on the node
        self._start = start
        self._workers = workers
        self._on_line = on_line
        self._loop = loop
        self._epoch = workers.tickets.next_epoch()
        self._order = f"{start.worker} {self._epoch}"
        self._nonces: list[str] = []
        self._link: MinderLink | None = None
        self._minder: asyncio.Future[None] = loop.create_future()
        self._started: asyncio.Future[None] = loop.create_future()
        self._backend: asyncio.Future[asyncio.Transport] = loop.create_future()
        self._sending: asyncio.Task[None] | None = None
        self._seen: asyncio.Future[Seen] | None = None  # what the node tells of the stacks, once it was asked
        self._killed: asyncio.TimerHandle | None = None

    async def connect(self, protocol: asyncio.BufferedProtocol) -> None:
        """Have the process placed and started, and connect `protocol` to it. Raises LoadFailed."""
        files = await self._workers.files_of(self._start.model_dir)
        ticket = self._ticket(self._minder_connected)
        try:
            place = await self._unless_ended(
                self._workers.placer.place(
                    self._order, self._start.demand, msgspec.json.encode(ticket), self._told, self._place_lost
                )
            )
        except NotPlaced as error:
            self._end(1, f"could not be placed: {error}")
            raise LoadFailed(f"{self._start.worker} could not be placed: {error}") from None
        self.where, self.gpus = f" on node {place.node}", place.gpus
        await self._within(CONNECT_WAIT, self._minder, "its node did not connect to the front")
        assert self._link is not None
        inner = self._ticket(self._backend_connected)
        start = self._start
        self._link.send(Start(inner, files.digest, start.hidden, dict(start.variables), start.python, start.ranks))
        await self._unless_ended(self._started)
        transport = await self._within(CONNECT_WAIT, self._backend, "it did not connect to the front")
        log.info("%s runs%s, as process %d there", self._start.worker, self.where, self.pids[0])
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def localized(self, load: Load) -> Load:
        """Return `load` for this process: its node's folder, and the first of the GPUs that it sees."""
        return msgspec.structs.replace(load, model_dir=self._model_dir, gpu_id=0 if self.gpus else None)

    def settle(self) -> None:
        """Do nothing: the node knows the process's children."""

    def abandon(self) -> None:
        """Close a connection that no protocol has."""
        if self._backend.done() and not self._backend.cancelled():
            self._backend.result().abort()

    async def stacks(self) -> str:
        """Have the node tell the Python stacks of all threads of the process. Raises StacksUnknown."""
        if self._link is None or self.exited.done():
            raise StacksUnknown("its process has not been started, or has ended")
        asked = self._seen
        if asked is None:
            asked = self._seen = self._loop.create_future()
            self._link.send(Look())
        await asyncio.wait([asked, self.exited], timeout=2 * PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            raise StacksUnknown("its node did not tell")
        seen = asked.result()
        if seen.error:
            raise StacksUnknown(seen.error)
        return seen.stacks

    def kill(self) -> None:
        """Have the node kill the process and whatever it started, and give the place up."""
        if self.exited.done():
            return
        if self._link is None:
            self._end(-signal.SIGKILL, "")
            return
        self._link.send(Kill())
        if self._killed is None:
            self._killed = self._loop.call_later(KILL_WAIT, self._end, -signal.SIGKILL, "")

    # ---- what the minder says

    def receive(self, message: FromMinder) -> None:
        if isinstance(message, Printed):
            for line in message.lines:
                self._on_line(message.stream, line)
        elif isinstance(message, Alive):
            self.memory = message.memory
            self.pids = list(message.pids) or self.pids
        elif isinstance(message, RankFailed):
            if self.rank_failed is not None:
                self.rank_failed(message.outcome)
        elif isinstance(message, Exited):
            self._end(message.code, message.reason and f"{message.reason}")
        elif isinstance(message, Leaving):
            self._place_lost(message.reason)
        elif isinstance(message, Seen):
            if self._seen is not None:
                self._seen.set_result(message)
                self._seen = None
        elif isinstance(message, Need):
            self._sending = self._loop.create_task(self._send_files(), name=f"files of {self._start.worker}")
        elif isinstance(message, Started) and not self._started.done():
            self.pids, self._model_dir = [message.pid], message.folder
            self._started.set_result(None)

    def lost(self, reason: str) -> None:
        self._end(1, f"was lost with its node: {reason}")

    async def _send_files(self) -> None:
        assert self._link is not None
        files = await self._workers.files_of(self._start.model_dir)
        log.info("The files of %s are sent%s", self._start.worker, self.where)
        try:
            await self._link.send_files(files.pieces())
        except OSError as error:
            self._end(1, f"could not get the model's files: {error}")

    # ---- what the engine says

    def _told(self, why: str) -> None:
        if why and why != self.waiting:
            log.warning("%s waits for a place: %s", self._start.worker, why)
        self.waiting = why
        self._workers.waiting[self._start.worker] = why

    def _place_lost(self, reason: str) -> None:
        """Have the worker finish its batch and end: the engine counts on its place no more."""
        if self.evacuate is not None:
            self.evacuate(reason)
        else:
            self._end(1, f"lost its place: {reason}")

    # ---- connections

    def _ticket(self, taker: Callable[[asyncio.Transport, Hello], None]) -> Ticket:
        ticket = self._workers.ticket(self._start.worker, self._epoch, taker)
        self._nonces.append(ticket.nonce)
        return ticket

    def _minder_connected(self, transport: asyncio.Transport, hello: Hello) -> None:
        self._link = MinderLink(transport, self, self._workers.beat)
        if not self._minder.done():
            self._minder.set_result(None)

    def _backend_connected(self, transport: asyncio.Transport, hello: Hello) -> None:
        transport.pause_reading()  # it says nothing before it is told to load
        if self._backend.done():
            transport.abort()
        else:
            transport.resume_reading()
            self._backend.set_result(transport)

    async def _within(self, seconds: float, what: asyncio.Future[T], otherwise: str) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await self._unless_ended(what)
        except TimeoutError:
            self._end(1, f"{otherwise} in {seconds:g} s")
            text = f"{self._start.worker}{self.where} was not started: {otherwise} in {seconds:g} s"
            raise LoadFailed(text) from None

    async def _unless_ended(self, what: Awaitable[T]) -> T:
        """Wait for `what`, which is cancelled if the process ends before. Raises LoadFailed then."""
        future = asyncio.ensure_future(what)
        try:
            await asyncio.wait([future, self.exited], return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
        finally:
            future.cancel()
        raise LoadFailed(f"{self._start.worker}{self.where} {self.ending or 'was stopped'} before it was started")

    def _end(self, code: int, ending: str) -> None:
        if self.exited.done():
            return
        for nonce in self._nonces:
            self._workers.tickets.withdraw(nonce)
        if self._killed is not None:
            self._killed.cancel()
        if self._sending is not None:
            self._sending.cancel()
        if self._link is not None:
            self._link.close()
        with contextlib.suppress(asyncio.InvalidStateError):
            self._backend.cancel()
        self.ending = ending
        self.exited.set_result(code)
        self._workers.waiting.pop(self._start.worker, None)
        self._workers.placer.release(self._order)
