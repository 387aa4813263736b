"""ForkedWorker: a worker that another process of ours is forking, until its process is a LocalProcess."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import IO, Self

import msgspec

from ..wire.fork_messages import Forked, FromForkServer
from .process_ends import ProcessEnds
from .shared_memory import Requests
from .spawn_local import LocalProcess
from .worker_process import describe_exit

PACKET = 1 << 16  # bytes of a message; a system may be unable to pass on more at once


class NotForked(Exception):
    """An error for a worker that is not forked; the message says why, in words that follow "since"."""


class ForkedChild:
    """A child of this process that another one has forked, with the ends of its output that are read here."""

    def __init__(self, pid: int, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr

    def wait(self) -> int:
        """Wait for the child's end, and return its exit code (negative: the signal that killed it)."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class ForkedWorker:
    """A worker that is being forked: what its process gets, and what the front keeps. Unless `process` is called, all
    of it is undone at the end.
    """

    def __init__(self, requests: Requests | None) -> None:
        """Make it. Raises OSError."""
        self.ready = False
        self._told = False  # whether the fork server has told of it
        self._process: LocalProcess | None = None
        with contextlib.ExitStack() as undo:
            self._ends = ProcessEnds(requests)
            undo.callback(self._ends.close)
            pipes = [self._pipe(undo) for _ in range(2)]
            self._read = [pipe[0] for pipe in pipes]
            self._given = contextlib.ExitStack()  # closed once the fork server has them
            for _, written in pipes:
                self._given.callback(written.close)
            self.passed = [*(written.fileno() for _, written in pipes), *self._ends.passed]
            self._undo = undo.pop_all()

    @staticmethod
    def _pipe(undo: contextlib.ExitStack) -> tuple[IO[bytes], IO[bytes]]:
        reading, writing = os.pipe()
        ends = open(reading, "rb"), open(writing, "wb", 0)  # noqa: SIM115, PTH123
        for end in ends:
            undo.callback(end.close)
        return ends

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.handed_over()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)  # it may have no group of its own yet
            self._process.kill()
        self._undo.close()

    @property
    def complete(self) -> bool:
        """Whether all has been told that is to be told of it."""
        return self.ready and self._told

    @property
    def exited(self) -> asyncio.Future[int] | None:
        return self._process.exited if self._process is not None else None

    def handed_over(self) -> None:
        """Close what its process has by now."""
        self._given.close()
        self._ends.handed_over()

    def take(self, message: Forked) -> None:
        """Take what is told of the process. Raises NotForked."""
        if self._process is None:
            ends = self._ends
            child = ForkedChild(message.pid, *self._read)
            try:
                self._process = LocalProcess(child, ends.ours, results=ends.results, lent=ends.lent)
            except OSError as error:  # there is no descriptor left to watch it by
                os.kill(message.pid, signal.SIGKILL)
                child.wait()
                raise NotForked(f"it can't be watched: {error}") from error
        self.ready = self.ready or message.ready
        self._told = self._told or not message.ready

    def process(self) -> LocalProcess:
        """Return the worker's process, which is the caller's now."""
        process = self._process
        assert process is not None
        self._process = None
        self._undo.pop_all()
        return process


async def next_message(control: socket.socket, worker: ForkedWorker) -> FromForkServer:
    """Return what is told next. Raises NotForked if the worker ends instead, EOFError if the fork server has ended."""
    receiving = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(control, PACKET))
    waits: list[asyncio.Future[bytes] | asyncio.Future[int]] = [receiving]
    if worker.exited is not None:
        waits.append(worker.exited)
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            assert worker.exited is not None
            raise NotForked(f"its process {describe_exit(worker.exited.result())}")
        packet = receiving.result()
    finally:
        receiving.cancel()
    if not packet:
        raise EOFError
    return msgspec.json.decode(packet, type=FromForkServer)
