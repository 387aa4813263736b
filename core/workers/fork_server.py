"""ForkServer: has workers forked from a process that has imported torch already (`core.backend.fork_server`).

It is started by the first worker that gains from it. A worker that it has forked is a child of the front, a
LocalProcess as any other: its exit code, its signals and its end don't depend on the fork server. Whatever the fork
server does or fails to do, a worker is started: `fork` raises NotForked, and the launcher spawns it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping

import msgspec

from ..wire.fork_messages import Fork, FromForkServer, Refused
from .fork_server_process import ForkServerProcess
from .forked_worker import PACKET, ForkedWorker, NotForked, next_message
from .preloads import Preloads
from .shared_memory import Requests
from .spawn_local import LocalProcess, OnLine
from .worker_process import describe_exit

log = logging.getLogger(__name__)

IMPORTING = 120.0  # seconds that the imports may take, on a machine that starts many servers at a time
FORKING = 20.0  # seconds that one fork may take after them
FAILURES = 3  # in a row, after which no worker is forked any more


class _Start:
    """A process of the fork server that the event loop watches, and what it has imported."""

    def __init__(self, made: ForkServerProcess) -> None:
        """Watch it. Raises OSError, and ends it then."""
        self.made = made
        self.modules: set[str] = set()
        self.ordered = False  # whether its end was ordered
        popen = made.popen
        try:
            self.process = LocalProcess(popen, made.socket)
        except OSError:
            made.end()
            raise
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
    if strange := start.made.strange(environment):
        raise NotForked(strange)
    return {name: environment.get(name) for name in start.made.differing(environment)}


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
    """A process that forks workers for this server. `python` is the interpreter of both; `early` has been started."""

    def __init__(self, python: str, early: ForkServerProcess | None = None) -> None:
        self._python = python
        self._early = early
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
        if self._early is not None:
            self._early.end()
            self._early = None
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
            self._start = _Start(self._take_early(environment) or ForkServerProcess(self._python, environment))
            log.info("The fork server is process %d: workers that need torch are forked from it.", self.pid)
        assert self._start is not None
        return self._start

    def _take_early(self, environment: Mapping[str, str]) -> ForkServerProcess | None:
        """Return the process that was started early, unless workers can't be forked from it."""
        early, self._early = self._early, None
        if early is None:
            return None
        try:
            early.follow()
        except OSError:
            early.end()
            return None
        if early.popen.poll() is not None or early.strange(environment):
            early.end()
            return None
        return early

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
