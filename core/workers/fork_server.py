"""ForkServer: has workers forked from a process that has imported torch already (`core.backend.fork_server`).

It is started by the first worker that gains from it. A worker that it has forked is a child of the front, a
LocalProcess as any other: its exit code, its signals and its end don't depend on the fork server. Whatever the fork
server does or fails to do, a worker is started: `fork` raises NotForked, and the launcher spawns it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Mapping

import msgspec

from ..wire.fork_messages import Fork, FromForkServer, Refused
from .forked_worker import PACKET, ForkedWorker, NotForked, next_message
from .preloads import Preloads
from .shared_memory import Requests
from .spawn_local import LocalProcess, OnLine, start_process
from .worker_process import describe_exit

log = logging.getLogger(__name__)

IMPORTING = 120.0  # seconds that the imports may take, on a machine that starts many servers at a time
FORKING = 20.0  # seconds that one fork may take after them
FAILURES = 3  # in a row, after which no worker is forked any more

# The variables that may differ from the fork server's: they are read later, or what has read them is told anew.
_MAY_DIFFER = frozenset(("OMP_NUM_THREADS", "TS_WORKER_CORES", "CUDA_VISIBLE_DEVICES"))

_LIMITS = [value for name, value in vars(resource).items() if name.startswith("RLIMIT_")]


class _Start:
    """A process of the fork server, the environment that it has, and what it has imported."""

    def __init__(self, python: str, environment: Mapping[str, str]) -> None:
        """Start it. Raises OSError."""
        self.environment = {name: value for name, value in environment.items() if name != "CUDA_VISIBLE_DEVICES"}
        self.inherited = _inherited()
        self.modules: set[str] = set()
        self.ordered = False  # whether its end was ordered
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as undo, theirs:
            undo.callback(ours.close)
            command = [python, "-P", "-m", "torchserve.core.backend", "--forks"]
            command += ["--fd", str(theirs.fileno()), "--parent", str(os.getpid())]
            popen = start_process(command, self.environment, pass_fds=(theirs.fileno(),))
            ours.setblocking(False)
            try:
                self.process = LocalProcess(popen, ours)
            except OSError:
                with popen:
                    popen.kill()
                raise
            undo.pop_all()
        self.process.exited.add_done_callback(self._ended)
        self.process.read_output(lambda stream, line: log.info("fork server %d %s: %s", popen.pid, stream, line))

    def _ended(self, exited: asyncio.Future[int]) -> None:
        if not self.ordered:
            log.warning(
                "The fork server %d %s: its workers live on, and the next one starts another.",
                *(self.process.pid, describe_exit(exited.result())),
            )

    def end(self) -> None:
        self.ordered = True
        self.process.kill()


def _differences(start: _Start, environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables in which a worker differs from the fork server. Raises NotForked if others do than may."""
    given = start.environment
    names = [name for name in {**given, **environment} if given.get(name) != environment.get(name)]
    strange = sorted(set(names) - _MAY_DIFFER)
    if strange:
        raise NotForked(f"its environment differs in {', '.join(strange)}")
    if start.inherited != _inherited():
        raise NotForked("the server's limits or its working folder have changed")
    return {name: environment.get(name) for name in names}


def _inherited() -> tuple[object, ...]:
    """Return what a process has of its parent, besides the environment."""
    limits = tuple(resource.getrlimit(each) for each in _LIMITS)
    return limits, os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0), os.getcwd()  # noqa: PTH109


def _discard(forking: asyncio.Future[LocalProcess]) -> None:
    """End the worker of a start that was cancelled."""
    if forking.cancelled() or forking.exception() is not None:
        return
    process = forking.result()
    process.kill()
    process.abandon()
    if process.results is not None:
        process.results.close()


class ForkServer:
    """A process that forks workers for this server. `python` is the interpreter of both."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._start: _Start | None = None
        self._turn = asyncio.Lock()
        self._failures = 0
        self._off = ""

    @property
    def pid(self) -> int | None:
        """The fork server's pid, None while there is no such process."""
        start = self._start
        return start.process.pid if start is not None and not start.process.exited.done() else None

    async def fork(
        self,
        name: str,
        environment: Mapping[str, str],
        on_line: OnLine,
        needs: Preloads,
        requests: Requests | None = None,
    ) -> LocalProcess:
        """Have the worker `name` forked, with `environment`. Raises NotForked.

        If this is cancelled, no process is left.
        """
        forking = asyncio.ensure_future(self._fork(name, environment, on_line, needs, requests))
        try:
            return await asyncio.shield(forking)
        except asyncio.CancelledError:
            forking.add_done_callback(_discard)
            raise

    async def close(self) -> None:
        """End the fork server. No worker may be forked any more."""
        self._off = "the server stops"
        if self._start is not None:
            self._start.end()
            await asyncio.wait([self._start.process.exited])
            async with self._turn:  # a start that is under way reads from the socket still
                self._start.process.socket.close()

    async def _fork(
        self,
        name: str,
        environment: Mapping[str, str],
        on_line: OnLine,
        needs: Preloads,
        requests: Requests | None,
    ) -> LocalProcess:
        async with self._turn:
            if self._off:
                raise NotForked(self._off)
            try:
                start = self._started(environment)
                order = Fork(name, needs.modules, _differences(start, environment), needs.closed)
                with ForkedWorker(requests) as worker:
                    await self._exchange(start, order, worker)
                    start.modules.update(needs.modules)
                    process = worker.process()
            except OSError as error:
                raise NotForked(f"the system refuses: {error}") from error
            self._failures = 0
        process.read_output(on_line)
        return process

    def _started(self, environment: Mapping[str, str]) -> _Start:
        """Return the running fork server, or a new one. Raises OSError."""
        if self.pid is None:
            if self._start is not None:
                self._start.process.socket.close()
            self._start = _Start(self._python, environment)
            log.info("The fork server is process %d: workers that need torch are forked from it.", self.pid)
        assert self._start is not None
        return self._start

    async def _exchange(self, start: _Start, order: Fork, worker: ForkedWorker) -> None:
        """Send the order, and wait until the worker's process is ready. Raises NotForked, OSError."""
        packet = msgspec.json.encode(order)
        if len(packet) > PACKET:
            raise NotForked("the order to fork it is too long")
        patience = FORKING if start.modules.issuperset(order.modules) else IMPORTING + FORKING
        try:
            async with asyncio.timeout(patience):
                socket.send_fds(start.process.socket, [packet], worker.passed)
                worker.handed_over()
                while not worker.complete:
                    self._take(await next_message(start.process.socket, worker), worker)
        except TimeoutError:
            self._failed(start, f"it has not answered within {patience:g} s")
            if not worker.ready:
                raise NotForked("the fork server does not answer") from None
        except (EOFError, OSError):
            if not worker.ready:
                self._failed(start, "it has ended")
                raise NotForked("the fork server has ended") from None

    def _take(self, message: FromForkServer, worker: ForkedWorker) -> None:
        if isinstance(message, Refused):
            if message.final:
                self._off = message.reason
                log.warning("No worker is forked, each is started on its own, since %s.", message.reason)
                if self._start is not None:
                    self._start.end()
            raise NotForked(message.reason)
        worker.take(message)

    def _failed(self, start: _Start, why: str) -> None:
        """End a fork server that is of no use, and after a few of them have none any more."""
        start.end()
        self._failures += 1
        log.error("The fork server %d is given up: %s.", start.process.pid, why)
        if self._failures >= FAILURES:
            self._off = f"{FAILURES} fork servers in a row have failed"
            log.error("No worker is forked any more, since %s.", self._off)
